"""The engine over contexts of thirty lines: who decodes when, and that nobody's trouble is another's."""

import _thread
import asyncio
import gc
import random
import signal
import threading
import weakref
from functools import cache

import pytest

from edge_wsd.decoding.events import Finished, Reading, Reply, Token
from edge_wsd.engine import engine as engine_module
from edge_wsd.engine import turns
from edge_wsd.engine.engine import Engine
from edge_wsd.engine.task import SHORT
from edge_wsd.errors import Cancelled, ClosedError, ContextFullError, DecodeError, LogitsError, QueueFullError
from tests.fake_contexts import (
    PATIENCE_S,
    FakeContext,
    FakeSampler,
    alone,
    engine_of,
    held,
    plain,
    soon,
    weak_to_strong_writer,
    without_engine,
)

pytestmark = pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
PROMPTS = [([3, 1, 2, *range(1, 2 + n % 5)], [2, 5, 4, 1, *range(1, 2 + n % 3)]) for n in range(16)]
UNWRITTEN = Reply("", (), (), "cancelled", None)
LONG = [1 + (i * i // 7) % 8 for i in range(4000)]


@pytest.fixture(autouse=True)
def _in_bounded_time():
    """Whoever would wait for ever fails instead."""
    if not hasattr(signal, "setitimer"):  # on Windows
        yield
        return

    def stop(*_):
        raise AssertionError("somebody waits for ever")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 2 * PATIENCE_S)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def its(reply):
    """All that must not depend on who else is there."""
    return reply.text, [token.id for token in reply.tokens], list(map(str, reply.confidences)), reply.finish_reason


def steps_of(context, sequence=0):
    """By decode: tokens of this sequence, and tokens of all others."""
    for reads in context.decodes:
        own = sum(len(read.tokens) for read in reads if read.sequence == sequence)
        yield own, sum(len(read.tokens) for read in reads) - own


@cache
def written_alone(**options):
    return [its(alone(weak_to_strong_writer(*prompts, **options))) for prompts in PROMPTS]


# What is written


@pytest.mark.parametrize("options", [{"chunk": 1}, {"chunk": 4, "speculation": False}, {"chunk": 8}], ids=str)
def test_the_engine_changes_nothing_of_what_the_loop_writes(options):
    """Its rows are 32-bit floats, so the last digits of the numbers differ."""
    for prompts in PROMPTS:
        writer = weak_to_strong_writer(*prompts, **options)
        expected, reply = without_engine(writer), alone(writer)
        assert its(reply)[:2] == its(expected)[:2]
        assert [number or 0 for number in reply.confidences] == pytest.approx(
            [number or 0 for number in expected.confidences], abs=1e-4
        )


@pytest.mark.parametrize("kind", [{}, {"can_share": False}, {"can_cut": False}, {"batch": 16}, {"room": 160}])
@pytest.mark.parametrize("options", [{"chunk": 1}, {"chunk": 4, "speculation": False}, {"chunk": 8}], ids=str)
@pytest.mark.parametrize("parallel", [4, 16])
def test_a_reply_is_the_same_whoever_is_written_beside_it(parallel, options, kind):
    writers = [weak_to_strong_writer(*prompts, **options) for prompts in PROMPTS]
    expected = written_alone(**options)
    with engine_of(parallel=parallel, **kind) as engine:
        with held(engine.drafter):
            streams = [engine.submit(writer) for writer in writers]
        assert [its(stream.result()) for stream in streams] == expected
        if kind == {}:
            assert max(len(reads) for reads in engine.drafter.decodes) == parallel
            assert max(len(reads) for reads in engine.base.decodes) > 1


@pytest.mark.parametrize("seed", range(5))
def test_a_seed_draws_the_same_text_whoever_is_written_beside_it(seed):
    def writer(n):
        samplers = [FakeSampler(random.Random(100 * seed + 2 * n + i)) for i in range(2)]
        return weak_to_strong_writer(*PROMPTS[n], samplers, chunk=4, temperature=1.0)

    expected = [its(alone(writer(n))) for n in range(8)]
    with engine_of(parallel=8) as engine:
        with held(engine.drafter):
            streams = [engine.submit(writer(n)) for n in range(8)]
        assert [its(stream.result()) for stream in streams] == expected


@pytest.mark.parametrize("seed", range(20))
def test_arrivals_cancels_and_errors_change_nobody_elses_reply(seed):
    rng = random.Random(seed)
    chunks = [rng.choice([1, 4, 8]) for _ in PROMPTS]
    writers = [weak_to_strong_writer(*prompts, chunk=chunk) for prompts, chunk in zip(PROMPTS, chunks, strict=True)]
    expected = [written_alone(chunk=chunk)[n] for n, chunk in enumerate(chunks)]
    with engine_of(parallel=rng.choice([2, 3, 5]), room=rng.choice([None, 200])) as engine:
        trouble = lambda pieces: rng.random() < 0.1 and fail(DecodeError("for once"), at=len(pieces) > 1)  # noqa: E731
        engine.base.on_decode = engine.drafter.on_decode = trouble
        whole, others = [], []
        for n, writer in enumerate(writers):
            stream = engine.submit(writer, unwritten=lambda: UNWRITTEN)
            if rng.random() < 0.6:
                whole.append((n, stream))
            else:
                others.append((stream, rng.random() < 0.5))
                for _ in range(rng.randint(0, 6)):
                    next(stream)
                stream.cancel() if others[-1][1] else stream.close()
        for n, stream in whole:
            assert its(stream.result()) == expected[n]
        for stream, is_read in others:
            assert not is_read or stream.result().finish_reason in ("cancelled", "length", "stop")


def fail(error, at=True):
    if at:
        raise error


# Whose turn it is


@pytest.mark.parametrize("source", ["drafter", "base"])
@pytest.mark.parametrize("can_share", [True, False], ids=["shared", "exact"])
def test_a_long_prompt_delays_the_next_token_of_another_by_at_most_one_piece(source, can_share):
    with engine_of(parallel=4, can_share=can_share) as engine:
        context = {"drafter": engine.drafter, "base": engine.base}[source]
        with held(context):
            writing = engine.submit(plain([1, 2, 3], 120, source=source))
            soon(lambda: context.decodes)
            others = [engine.submit(plain([*LONG, n], 2, source=source)) for n in range(3)]
        reply = writing.result()
        for other in others:
            other.result()
        assert len(reply.tokens) == 120
        waited, longest = 0, 0
        for own, of_others in list(steps_of(context))[1:]:
            waited += of_others
            if own:
                longest, waited = max(longest, waited), 0
        # A prompt's last tokens may go with the answers; where nothing is shared, the next prompt's first piece, too.
        n_pieces = 1 if can_share else 2
        assert turns.PIECE <= longest < n_pieces * turns.PIECE + 3 * SHORT


def test_a_long_prompt_of_the_drafter_does_not_hold_up_the_base():
    with engine_of(parallel=2) as engine:
        with held(engine.base):
            writing = engine.submit(plain([1, 2, 3], 20))
            soon(lambda: engine.base.decodes)
            long = engine.submit(plain(LONG, 1, source="drafter"))
        assert len(writing.result().tokens) == 20
        long.result()
        n_tokens = [len(reads[0].tokens) for reads in engine.drafter.decodes]
        assert 10 < n_tokens.count(turns.PIECE) <= 22  # one for each of the other's words


def test_who_writes_with_the_drafter_for_ever_does_not_hold_up_the_base():
    """The drafter's passes once came first as long as there was one."""
    with engine_of(parallel=2) as engine:
        n_before = []  # passes of the drafter, at each of the base
        engine.base.on_decode = lambda pieces: n_before.append(len(engine.drafter.decodes))
        with held(engine.drafter):
            drafting = engine.submit(plain([1, 2], 2000, source="drafter"))
            writing = engine.submit(plain([1, 2], 10))
        assert len(writing.result().tokens) == 10
        assert len(n_before) == 10 and n_before[-1] < 400
        drafting.close()


@pytest.mark.parametrize("kind", [{"can_share": False}, {"batch": 16}, {}], ids=str)
def test_those_who_write_get_their_turns_evenly(kind):
    """Without sharing, the oldest reply once wrote its last word before the next one wrote its first."""
    with engine_of(parallel=6, **kind) as engine:
        with held(engine.base):
            streams = [engine.submit(plain([1 + n] * 6, 40)) for n in range(6)]
        for stream in streams:
            stream.result()
        counts = dict.fromkeys(range(6), 0)
        for reads in engine.base.decodes[6:-40]:
            for read in reads:
                counts[read.sequence] += 1
            assert max(counts.values()) - min(counts.values()) <= 2


def test_without_sharing_a_prompt_is_read_while_another_reply_is_written():
    with engine_of(parallel=2, can_share=False) as engine:
        with held(engine.base):
            writing = engine.submit(plain([1, 2], 400))
            soon(lambda: engine.base.decodes)
            long = engine.submit(plain(LONG[:1000], 1))
        long.result()
        steps = list(steps_of(engine.base))
        last = max(at for at, (_, others) in enumerate(steps) if others)
        assert 5 < sum(own for own, _ in steps[:last]) < 100
        writing.close()


def test_a_prompt_is_read_in_whole_batches_if_nobody_waits():
    with engine_of(parallel=2) as engine:
        engine.submit(plain(LONG, 1)).result()
        assert [len(reads[0].tokens) for reads in engine.base.decodes] == [512] * 7 + [4000 - 7 * 512]


def test_reading_a_long_prompt_is_told():
    with engine_of(parallel=2) as engine:
        told = [event for event in engine.submit(plain(LONG[:1200], 3)) if isinstance(event, Reading)]
        assert told == [Reading("base", n, 1199) for n in (0, 512, 1024)]
        assert not [event for event in engine.submit(plain([1] * 20, 3)) if isinstance(event, Reading)]


def test_as_many_are_written_at_once_as_was_said_and_in_the_order_in_which_they_came():
    with engine_of(parallel=3) as engine:
        with held(engine.base):
            streams = [engine.submit(plain([1 + n % 8] * (5 + n), 4 + n % 3)) for n in range(10)]
        for stream in streams:
            stream.result()
        assert max(len(reads) for reads in engine.base.decodes) == 3
        prompts = [len(read.tokens) for reads in engine.base.decodes for read in reads if read.position == 0]
        assert len(engine._memories["base"].used) == 0
        first_reads = [stream.result().tokens[0] for stream in streams]
        assert len(first_reads) == 10 and prompts == sorted(prompts)


# The queue


@pytest.mark.parametrize("longest_queue", [0, 2])
def test_beyond_the_queue_a_reply_is_refused_until_there_is_a_place(longest_queue):
    """With a queue of 0 even an engine that had nothing to do once refused."""
    with engine_of(parallel=2, longest_queue=longest_queue) as engine:
        with held(engine.base):
            streams = [engine.submit(plain([1, 2], 3)) for _ in range(2 + longest_queue)]
            with pytest.raises(QueueFullError, match=f"{longest_queue} replies are waiting"):
                engine.submit(plain([1, 2], 3))
        for stream in streams:
            assert len(stream.result().tokens) == 3
        soon(lambda: not engine._active)
        assert len(engine.submit(plain([1, 2], 3)).result().tokens) == 3


# Ending early


def test_who_is_cancelled_while_waiting_never_begins():
    begun = []

    def writer(memories):
        begun.append(True)
        yield from plain([1, 2], 3)(memories)

    with engine_of(parallel=1) as engine:
        with held(engine.base):
            first = engine.submit(plain([1, 2], 3))
            soon(lambda: engine.base.decodes)
            second, third = engine.submit(writer, unwritten=lambda: UNWRITTEN), engine.submit(writer)
            second.cancel()
            third.cancel()
        assert second.result() is UNWRITTEN
        with pytest.raises(Cancelled):
            third.result()
        assert len(first.result().tokens) == 3 and not begun


@pytest.mark.parametrize("prompt", [[1, 2, 3], LONG], ids=["writing", "reading"])
def test_a_cancel_stops_the_decode_that_only_this_reply_is_in(prompt):
    with engine_of(parallel=2) as engine:
        at_work = threading.Event()

        def until_told(pieces):
            if len(engine.base.decodes) == 3:
                at_work.set()
                soon(lambda: engine.base.flag.is_set)

        engine.base.on_decode = until_told
        stream = engine.submit(plain(prompt, 50))
        assert at_work.wait(PATIENCE_S)
        stream.cancel()
        reply = stream.result()
        assert reply.finish_reason == "cancelled" and len(reply.tokens) == (2 if len(prompt) < 10 else 0)
        assert len(engine.base.decodes) == 3
        assert len(engine.submit(plain([1, 2], 3)).result().tokens) == 3


def test_a_cancel_does_not_stop_a_decode_that_others_are_in():
    with engine_of(parallel=2) as engine:
        go_on = threading.Event()
        engine.base.on_decode = lambda pieces: len(pieces) == 2 and go_on.wait(PATIENCE_S)
        streams = [engine.submit(plain([1 + n, 2], 10 + 200 * (n == 0))) for n in range(2)]
        soon(lambda: len(engine.base.decodes[-1:]) and len(engine.base.decodes[-1]) == 2)
        streams[0].cancel()
        assert not engine.base.flag.is_set
        go_on.set()
        assert streams[0].result().finish_reason == "cancelled"
        assert its(streams[1].result()) == its(alone(plain([2, 2], 10)))


def test_a_stop_that_comes_too_late_for_its_decode_costs_the_next_one_nothing_but_time():
    """Whoever cancels may be held up between looking and stopping: then another decode is at work."""
    expected = its(alone(weak_to_strong_writer(*PROMPTS[0])))
    with engine_of(parallel=2) as engine:
        for context in (engine.base, engine.drafter):
            context.on_decode = lambda pieces, context=context: len(context.decodes) % 3 == 0 and context.flag.set()
        assert its(engine.submit(weak_to_strong_writer(*PROMPTS[0])).result()) == expected


@pytest.mark.parametrize("how", ["dropped", "closed", "with"])
def test_an_abandoned_reply_is_written_no_further_and_its_place_is_free(how):
    with engine_of(parallel=1) as engine:
        stream = engine.submit(plain([1, 2], 4900))
        next(stream)
        if how == "closed":
            stream.close()
        elif how == "with":
            with stream:
                pass
        del stream
        assert len(engine.submit(plain([3, 4], 3)).result().tokens) == 3
        assert len(engine.base.decodes) < 4800
        assert engine._memories["base"].used == []


def test_a_closed_stream_is_over_and_its_end_is_nobodys():
    """Its last event once arrived after the close, and made the reply part of the conversation."""
    kept = []
    with engine_of(parallel=1) as engine:
        stream = engine.submit(plain([1, 2], 300), on_finish=kept.append)
        next(stream)
        stream.close()
        assert stream.is_over and list(stream) == [] and kept == []
        with pytest.raises(ClosedError, match="closed before"):
            stream.result()


def test_a_stream_that_another_thread_closes_ends_for_its_reader():
    with engine_of(parallel=1) as engine, held(engine.base):
        kept, ended = [], threading.Event()
        stream = engine.submit(plain([1, 2], 300), on_finish=kept.append)

        def read():
            list(stream)
            ended.set()

        threading.Thread(target=read, daemon=True).start()
        stream.close()
        assert ended.wait(PATIENCE_S) and kept == []


def test_a_slow_reader_holds_up_nobody():
    with engine_of(parallel=2) as engine:
        slow = engine.submit(plain([1, 2], 50))
        next(slow)
        for n in range(5):
            assert len(engine.submit(plain([3, n], 20)).result().tokens) == 20
        assert len([event for event in slow if isinstance(event, Token)]) == 49


# Errors


def test_an_error_in_one_reply_ends_that_reply():
    with engine_of(parallel=3) as engine:
        with held(engine.base):
            broken = engine.submit(plain([1, 2], 20, fail_at=3))
            others = [engine.submit(plain([3 + n, 2], 20)) for n in range(2)]
        events = []
        with pytest.raises(ValueError, match="this reply is broken"):
            for event in broken:
                events.append(event)
        assert len(events) == 4 and list(broken) == []
        with pytest.raises(ValueError, match="this reply is broken"):
            broken.result()
        assert [its(stream.result()) for stream in others] == [its(alone(plain([3 + n, 2], 20))) for n in range(2)]
        assert engine._memories["base"].used == []


@pytest.mark.parametrize(
    "error", [DecodeError("no"), MemoryError(), LogitsError("nan")], ids=lambda e: type(e).__name__
)
def test_a_decode_that_fails_ends_the_reply_that_it_fails_for_and_no_other(error):
    expected = [its(alone(plain([1 + n, 2], 12))) for n in range(4)]
    with engine_of(parallel=4) as engine:

        def poisoned(pieces):
            texts = [piece.sequence.tokens + piece.tokens for piece in pieces]
            if any(text[:2] == [3, 2] and len(text) > 7 for text in texts):
                if isinstance(error, LogitsError):
                    engine.base.wipe()
                raise error

        engine.base.on_decode = poisoned
        with held(engine.base):
            streams = [engine.submit(plain([1 + n, 2], 12)) for n in range(4)]
        for n in (0, 1, 3):
            assert its(streams[n].result()) == expected[n]
        with pytest.raises(type(error)):
            streams[2].result()


def test_a_decode_that_fails_once_costs_nobody_a_word():
    expected = [its(alone(weak_to_strong_writer(*prompts))) for prompts in PROMPTS[:4]]
    with engine_of(parallel=4) as engine:
        for context in (engine.drafter, engine.base):
            context.on_decode = lambda pieces: fail(DecodeError("for once"), at=len(pieces) > 2)
        with held(engine.drafter):
            streams = [engine.submit(weak_to_strong_writer(*prompts)) for prompts in PROMPTS[:4]]
        assert [its(stream.result()) for stream in streams] == expected


@pytest.mark.parametrize("can_cut", [True, False])
@pytest.mark.parametrize("chunk", [4, 8])
def test_what_a_failed_decode_has_read_nevertheless_is_read_again_for_its_rows(chunk, can_cut):
    """llama.cpp keeps the parts of a batch that were finished; their rows were missing, and later ones moved up."""
    expected = [its(alone(weak_to_strong_writer(*prompts, chunk=chunk), can_cut=can_cut)) for prompts in PROMPTS[:4]]
    rng = random.Random(chunk)
    with engine_of(parallel=4, can_cut=can_cut) as engine:

        def half(pieces):
            if rng.random() < 0.3 and len(pieces) > 1:
                for piece in pieces:
                    piece.sequence.tokens += piece.tokens[: rng.randint(0, len(piece.tokens))]
                raise DecodeError("half of it was read")

        engine.base.on_decode = engine.drafter.on_decode = half
        with held(engine.drafter):
            streams = [engine.submit(weak_to_strong_writer(*prompts, chunk=chunk)) for prompts in PROMPTS[:4]]
        assert [its(stream.result()) for stream in streams] == expected


def test_memory_that_is_lost_while_replies_are_written_is_read_again():
    expected = [its(alone(weak_to_strong_writer(*prompts))) for prompts in PROMPTS[:4]]
    rng = random.Random(3)
    with engine_of(parallel=4) as engine:
        for context in (engine.drafter, engine.base):
            context.on_decode = lambda pieces, context=context: (
                rng.random() < 0.1 and (context.wipe() or fail(LogitsError("nan"), at=len(pieces) > 1))
            )
        with held(engine.drafter):
            streams = [engine.submit(weak_to_strong_writer(*prompts)) for prompts in PROMPTS[:4]]
        for context in (engine.drafter, engine.base):
            wiped = context.on_decode
            context.on_decode = lambda pieces, wiped=wiped: len(pieces) > 1 and wiped(pieces)
        assert [its(stream.result()) for stream in streams] == expected


def test_a_fault_of_the_engine_itself_reaches_everybody_who_waits(monkeypatch):
    """A thread that dies must not leave its readers behind."""
    with engine_of(parallel=2) as engine:
        with held(engine.base):
            streams = [engine.submit(plain([1, 2], 5)) for _ in range(4)]
            soon(lambda: engine.base.decodes)
            monkeypatch.setattr(Engine, "_retire", lambda self: fail(ZeroDivisionError("a fault")))
        for stream in streams:
            with pytest.raises(ZeroDivisionError, match="a fault"):
                stream.result()
        with pytest.raises(ClosedError):
            engine.submit(plain([1, 2], 5))


def test_a_machine_that_has_no_more_threads_says_so_and_may_have_one_later(monkeypatch):
    with engine_of() as engine:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", lambda self: fail(RuntimeError("can't start new thread")))
            with pytest.raises(RuntimeError, match="can't start new thread"):
                engine.submit(plain([1, 2], 3))
        assert len(engine.submit(plain([1, 2], 3)).result().tokens) == 3


# Memory


def test_without_room_idle_texts_go_first_then_the_youngest_waits_and_nobody_is_lost():
    prompts = [[1 + n] * 30 for n in range(4)]
    expected = [its(alone(plain(prompt, 40))) for prompt in prompts]
    with engine_of(parallel=4, room=150) as engine:
        engine.submit(plain([7, 8] * 30, 5)).result()  # idle from now on
        with held(engine.base):
            streams = [engine.submit(plain(prompt, 40)) for prompt in prompts]
        assert [its(stream.result()) for stream in streams] == expected
        # The oldest went on, and the two youngest had to begin again.
        begun_again = [read.tokens[0] for reads in engine.base.decodes[7:] for read in reads if read.position == 0]
        assert set(begun_again) == {3, 4}


@pytest.mark.parametrize("room", [70, 90, 120])
@pytest.mark.parametrize("seed", range(2))
def test_replies_that_wait_for_room_in_either_memory_never_wait_for_each_other(seed, room):
    """The oldest is the last to give way in both memories, so there is always one that goes on."""
    prompts = [([1 + n] * (15 + 5 * (n % 3)), [1 + n] * (35 - 5 * (n % 3))) for n in range(6)]
    writers = [weak_to_strong_writer(*prompt, threshold=1.0, max_tokens=25) for prompt in prompts]
    expected = [its(alone(writer, seed=seed)) for writer in writers]
    with engine_of(parallel=6, room=room, seed=seed) as engine:
        with held(engine.drafter, engine.base):
            streams = [engine.submit(writer) for writer in writers]
        assert [its(stream.result()) for stream in streams] == expected


def test_a_text_that_never_fits_ends_with_that_error_and_the_others_go_on():
    with engine_of(parallel=2, room=100) as engine:
        with held(engine.base):
            short = engine.submit(plain([1, 2], 30))
            long = engine.submit(plain(LONG[:200], 3))
        assert len(short.result().tokens) == 30
        with pytest.raises(ContextFullError):
            long.result()
        assert len(engine.submit(plain([1, 2], 3)).result().tokens) == 3


def test_a_beginning_that_two_have_in_common_is_read_once():
    system = LONG[:300]
    with engine_of(parallel=2) as engine:
        engine.submit(plain([*system, 1], 2)).result()
        n = sum(len(read.tokens) for reads in engine.base.decodes for read in reads)
        with held(engine.base):
            streams = [engine.submit(plain([*system, 2, k, k], 2)) for k in (3, 4)]
        for stream in streams:
            stream.result()
        assert sum(len(read.tokens) for reads in engine.base.decodes for read in reads) - n < 20


# Closing


def test_closing_ends_every_stream_and_the_thread():
    with engine_of(parallel=8) as engine:
        with held(engine.base):
            streams = [engine.submit(plain([1 + n % 8, n], 300), unwritten=lambda: UNWRITTEN) for n in range(12)]
            soon(lambda: engine.base.decodes)
        engine.close()
        engine.close()
        assert [stream.result().finish_reason for stream in streams] == ["cancelled"] * 12
        assert engine._thread is None or not engine._thread.is_alive()
        assert engine._memories["base"].used == []
        with pytest.raises(ClosedError):
            engine.submit(plain([1, 2], 3))


def test_closing_stops_the_decode_at_work():
    with engine_of(parallel=8) as engine:
        engine.base.on_decode = lambda pieces: soon(lambda: engine.base.flag.is_set)
        stream = engine.submit(plain([1, 2], 30))
        soon(lambda: engine.base.decodes)
        engine.close()
        assert stream.result().finish_reason == "cancelled"


def test_threads_that_submit_and_close_at_once_all_come_to_an_end():
    for seed in range(10):
        with engine_of(parallel=3) as engine:
            ended = []

            def work(n, engine=engine, ended=ended):
                try:
                    while True:
                        engine.submit(plain([1 + n, 2], 5)).result()
                except (ClosedError, Cancelled):
                    ended.append(n)

            threads = [threading.Thread(target=work, args=(n,), daemon=True) for n in range(4)]
            for thread in threads:
                thread.start()
            soon(lambda engine=engine, seed=seed: len(engine.base.decodes) > 5 * seed)
            engine.close()
            for thread in threads:
                thread.join(PATIENCE_S)
            assert sorted(ended) == [0, 1, 2, 3]


def test_the_thread_ends_when_there_is_nothing_to_do_and_begins_anew(monkeypatch):
    monkeypatch.setattr(engine_module, "_IDLE_S", 0.01)
    with engine_of() as engine:
        for _ in range(20):
            assert len(engine.submit(plain([1, 2], 3)).result().tokens) == 3
            thread = engine._thread
            if thread is not None:
                thread.join(PATIENCE_S)
        soon(lambda: engine._thread is None)
        n = threading.active_count()
        assert len(engine.submit(plain([1, 2], 3)).result().tokens) == 3
        assert threading.active_count() <= n + 1


def test_an_engine_that_nobody_holds_is_gone_once_its_thread_has_ended(monkeypatch):
    monkeypatch.setattr(engine_module, "_IDLE_S", 0.01)
    engine = Engine({"base": FakeContext(1, common=1)})
    engine.submit(plain([1, 2], 3)).result()
    gone = weakref.ref(engine)
    del engine

    def is_gone():
        gc.collect()
        return gone() is None

    soon(is_gone)


# Who waits


@pytest.mark.parametrize("take", [next, lambda stream: stream.result()], ids=["next", "result"])
def test_ctrl_c_in_the_thread_that_waits_cancels_the_reply(take):
    with engine_of(parallel=1) as engine:
        with held(engine.base):
            stream = engine.submit(plain([1, 2], 300))
            soon(lambda: engine.base.decodes)
            threading.Timer(0.1, _thread.interrupt_main).start()
            with pytest.raises(KeyboardInterrupt):
                take(stream)
            assert stream.is_over and engine.base.flag.is_set
        assert len(engine.submit(plain([1, 2], 3)).result().tokens) == 3


def test_a_cancel_takes_no_lock():
    """`__del__` may run in any thread, at any line, whatever lock that holds; and so may a signal handler."""
    with engine_of(parallel=1) as engine:
        stream, done = engine.submit(plain([1, 2], 300)), threading.Event()

        def end():
            stream.cancel()
            stream.__del__()
            stream.close()
            done.set()

        with engine._lock:
            threading.Thread(target=end, daemon=True).start()
            assert done.wait(PATIENCE_S)


def test_an_event_loop_reads_several_at_once():
    async def read(stream):
        return [event async for event in stream]

    async def main(streams):
        return await asyncio.gather(*map(read, streams))

    with engine_of(parallel=3) as engine:
        streams = [engine.submit(plain([1 + n, 2], 20)) for n in range(5)]
        for n, events in enumerate(asyncio.run(main(streams))):
            assert isinstance(events[-1], Finished) and len(events) == 21
            assert its(events[-1].reply) == its(alone(plain([1 + n, 2], 20)))


def test_a_coroutine_that_is_cancelled_closes_its_reply_and_one_that_is_closed_ends():
    """Whoever waited for an event of a stream that another coroutine closed once waited for ever."""

    async def read(stream):
        return [event async for event in stream]

    async def main(engine):
        streams = [engine.submit(plain([1, 2], 300)) for _ in range(2)]
        readers = [asyncio.create_task(read(stream)) for stream in streams]
        await asyncio.sleep(0.05)
        readers[0].cancel()
        await streams[1].aclose()
        return streams, await asyncio.wait_for(asyncio.gather(*readers, return_exceptions=True), PATIENCE_S)

    with engine_of(parallel=1) as engine:
        engine.base.on_decode = lambda pieces: soon(lambda: engine.base.flag.is_set)
        streams, (first, second) = asyncio.run(main(engine))
        assert isinstance(first, asyncio.CancelledError) and second == []
        assert all(stream.is_over for stream in streams)


def test_an_event_loop_that_is_closed_under_its_reader_stops_nobody():
    """The engine's thread once died of telling it."""
    with engine_of(parallel=2) as engine:
        loop = asyncio.new_event_loop()
        with held(engine.base):
            orphan = engine.submit(plain([1, 2], 20))
            reader = loop.create_task(orphan.__anext__())
            loop.run_until_complete(asyncio.sleep(0.01))
            loop.close()
        assert len(engine.submit(plain([3, 2], 30)).result().tokens) == 30
        soon(lambda: not engine._active)
        assert not reader.done()
        reader._log_destroy_pending = False
        reader.get_coro().close()
