"""Both contexts decode at the same time, each in a thread of its own, and nobody's text depends on it."""

import itertools
import os
import random
import threading
import time
from functools import cache

import pytest

from edge_wsd.engine.lane import OwnThread
from edge_wsd.errors import Cancelled, ClosedError, DecodeError, LogitsError
from edge_wsd.llama import library
from tests.fake_contexts import (
    LONG_PROMPT,
    PATIENCE_S,
    PROMPTS,
    FakeSampler,
    alone,
    engine_of,
    fail,
    held,
    its,
    plain,
    soon,
    weak_to_strong_writer,
)

pytestmark = [
    pytest.mark.usefixtures("in_bounded_time"),
    pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning"),
]


@cache
def written_alone(**options):
    return [its(alone(weak_to_strong_writer(*prompts, **options))) for prompts in PROMPTS]


def decode_threads():
    return [thread for thread in threading.enumerate() if thread.name == "edge-wsd decode"]


# At the same time


def test_one_model_computes_while_the_other_does():
    """Each decode waits until both have begun one: without overlap they would wait for ever."""
    both = threading.Barrier(2)
    with engine_of(parallel=2, overlap=True) as engine:
        for context in (engine.drafter, engine.base):
            context.on_decode = lambda pieces: both.wait(PATIENCE_S)
        streams = [engine.submit(plain([1, 2], 20, source=source)) for source in ("drafter", "base")]
        replies = [its(stream.result()) for stream in streams]
    assert replies == [its(alone(plain([1, 2], 20, source=source))) for source in ("drafter", "base")]


def test_a_new_reply_begins_while_the_base_is_still_reading_for_another():
    with engine_of(parallel=2, overlap=True) as engine:
        with held(engine.base):
            slow = engine.submit(plain([1, 2], 3))
            soon(lambda: engine.base.decodes)
            assert len(engine.submit(plain([3, 2], 9, source="drafter")).result().tokens) == 9
        assert len(slow.result().tokens) == 3


@pytest.mark.parametrize("overlaps", [False, True])
@pytest.mark.parametrize("kind", [{}, {"can_share": False}, {"can_cut": False}, {"batch": 16}, {"room": 160}])
@pytest.mark.parametrize("options", [{"chunk": 1}, {"chunk": 4, "speculation": False}, {"chunk": 8}], ids=str)
@pytest.mark.parametrize("parallel", [1, 4, 16])
def test_a_reply_is_the_same_with_overlap(parallel, options, kind, overlaps):
    """Between replies, and within one: what was written in vain, and what was read ahead, leaves no trace."""
    with engine_of(parallel=parallel, overlap=True, **kind) as engine:
        streams = [engine.submit(weak_to_strong_writer(*prompts, overlaps=overlaps, **options)) for prompts in PROMPTS]
        assert [its(stream.result()) for stream in streams] == written_alone(**options)


@pytest.mark.parametrize("seed", range(3))
def test_a_seed_draws_the_same_text_with_overlap(seed):
    """A row that is drawn from must not be overwritten by the next decode of its context."""

    def writers():
        for n, prompts in enumerate(PROMPTS):
            samplers = [FakeSampler(random.Random(f"{seed} {n} {role}")) for role in range(2)]
            yield weak_to_strong_writer(*prompts, samplers, overlaps=True, chunk=4)

    expected = [its(alone(writer)) for writer in writers()]
    with engine_of(parallel=4, overlap=True) as engine:
        streams = [engine.submit(writer) for writer in writers()]
        assert [its(stream.result()) for stream in streams] == expected


@pytest.mark.parametrize(
    "options", [{"chunk": 4}, {"chunk": 1}, {"chunk": 3, "threshold": 1}, {"draws": True}], ids=str
)
def test_a_thousand_answers_are_those_written_one_by_one_whoever_is_cancelled_and_when(options):
    """256 with each set of options, whose decodes take any time; six of sixteen are cancelled or dropped somewhere."""
    rng, options = random.Random(str(options)), {**options}
    draws = options.pop("draws", 0)

    def writer(n, **ways):
        samplers = [FakeSampler(random.Random(f"{n} {role}")) for role in range(2)] if draws else (None, None)
        return weak_to_strong_writer(*PROMPTS[n], samplers, **ways, **options)

    expected = [its(alone(writer(n))) for n in range(16)]
    with engine_of(parallel=5, overlap=True) as engine:
        for context in (engine.drafter, engine.base):
            context.on_decode = lambda pieces: time.sleep(rng.choice([0, 0, 0.0003, 0.001]))
        for _ in range(16):
            streams = {n: engine.submit(writer(n, overlaps=True)) for n in range(16)}
            for n in rng.sample(range(16), 6):
                stream = streams.pop(n)
                for _ in range(rng.choice([0, 0, 1, 5, 20])):
                    next(stream, None)
                rng.choice([stream.cancel, stream.close, lambda: None])()
                del stream
            assert all(its(stream.result()) == expected[n] for n, stream in streams.items())
        soon(lambda: not engine._active)
        assert not engine._memories["drafter"].used and not engine._memories["base"].used


# Within one reply


def test_the_base_reads_its_prompt_while_the_drafter_begins():
    """Each first decode waits for the other's: the base would otherwise not be asked before the draft is written."""
    both = threading.Barrier(2)
    with engine_of(overlap=True) as engine:
        for context in (engine.drafter, engine.base):
            context.on_decode = lambda pieces, context=context: len(context.decodes) == 1 and both.wait(PATIENCE_S)
        reply = engine.submit(weak_to_strong_writer(*PROMPTS[1], overlaps=True)).result()
        first = engine.base.decodes[0][0]
    assert (first.position, first.tokens) == (0, tuple(PROMPTS[1][1][:-1]))
    assert its(reply) == written_alone()[1]


def test_the_drafter_writes_on_while_the_base_scores():
    """The first decode that scores waits for one behind all of the chunk: without overlap there is none before."""
    both, prompts = threading.Barrier(2), PROMPTS[0]
    met = set()

    def meet(context, is_it):
        if is_it and context not in met:
            met.add(context)
            both.wait(PATIENCE_S)

    with engine_of(overlap=True) as engine:
        base, drafter = engine.base, engine.drafter
        base.on_decode = lambda pieces: meet(base, len(pieces[0].targets) == 3)
        drafter.on_decode = lambda pieces: meet(drafter, len(pieces[0].sequence.tokens) > len(prompts[0]) + 1)
        reply = engine.submit(weak_to_strong_writer(*prompts, overlaps=True, chunk=3, threshold=1)).result()
    assert len(met) == 2 and its(reply) == written_alone(chunk=3, threshold=1)[0]


def test_the_drafter_writes_nothing_twice_that_it_wrote_while_the_base_scored():
    """Also where it is the slower one: the reply waits for what is under way, and knows it then."""

    def until_the_base_is_done(pieces):
        if engine.base.decodes:
            with engine.base.lock:
                pass
            time.sleep(0.01)  # for the engine to see that first

    drafting = {"chunk": 3, "threshold": 1, "max_tokens": 15}
    with engine_of(overlap=True) as engine:
        engine.drafter.on_decode = until_the_base_is_done
        reply = engine.submit(weak_to_strong_writer(*PROMPTS[0], overlaps=True, **drafting)).result()
        positions = [read.position for reads in engine.drafter.decodes for read in reads]
    assert its(reply) == written_alone(**drafting)[0]
    assert len(positions) > 3 and len(set(positions)) == len(positions)


def test_the_next_reply_waits_until_nothing_is_read_for_the_last_one():
    """It needs its place: a reply can be over, drafted as a whole, while the base still reads its prompt."""
    go_on = threading.Event()
    with engine_of(parallel=1, overlap=True, n_sequences=1) as engine:
        engine.base.on_decode = lambda pieces: go_on.wait(PATIENCE_S)
        first, second = (
            engine.submit(weak_to_strong_writer(*PROMPTS[n], overlaps=True, max_tokens=3)) for n in range(2)
        )
        assert len(first.result().tokens) == 3
        go_on.set()
        assert len(second.result().tokens) == 3


def test_a_text_into_which_a_decode_is_about_to_read_is_nobody_elses_beginning():
    """The decode was begun for a reply that is over by now, and its thread has yet to come to it."""
    begun, go_on = threading.Event(), threading.Event()
    n_runs = itertools.count()
    drafter_prompt, prompt = PROMPTS[0][0], LONG_PROMPT[:40]
    another = weak_to_strong_writer(drafter_prompt, [*prompt[:10], 1, 2, 5], overlaps=True)
    with engine_of(parallel=2, overlap=True, batch=16) as engine:
        run = engine.base.run

        def late(pieces, scores):
            if next(n_runs) == 1:
                begun.set()
                go_on.wait(PATIENCE_S)
            run(pieces, scores)

        engine.base.run = late
        engine.drafter.on_decode = lambda pieces: len(engine.drafter.decodes) > 1 and begun.wait(PATIENCE_S)
        engine.submit(weak_to_strong_writer(drafter_prompt, prompt, overlaps=True, max_tokens=3)).result()
        stream = engine.submit(another)
        next(stream)  # it has got its places
        go_on.set()
        assert its(stream.result()) == its(alone(another))


def test_a_reply_that_is_made_room_of_while_it_has_its_rows_goes_on_with_them():
    """It waited for what the drafter wrote beside its pass, lost its text to an older reply, and was forgotten."""
    go_on, prompts = threading.Event(), PROMPTS[0]
    drafting = {"chunk": 3, "threshold": 1, "max_tokens": 9}
    with engine_of(parallel=2, overlap=True, room=48) as engine:

        def write(pieces):
            if len(pieces[0].sequence.tokens) > len(prompts[0]) + 1:  # ahead of the first chunk
                go_on.wait(PATIENCE_S)

        def read(pieces):
            if len(pieces[0].sequence.tokens) > 43:  # with the other text there would be no room
                go_on.set()

        engine.drafter.on_decode, engine.base.on_decode = write, read
        older = engine.submit(plain([3, 2], 44))
        reply = engine.submit(weak_to_strong_writer(*prompts, overlaps=True, **drafting))
        assert its(reply.result()) == written_alone(**drafting)[0]
        assert len(older.result().tokens) == 44


def test_what_is_computed_beside_a_pass_may_fail_and_nobody_is_told():
    """It is a bet, or comes too early: the reply asks for it again if it needs it."""
    with engine_of(overlap=True) as engine:
        main = threading.Event()
        engine.base.on_decode = lambda pieces: main.is_set() or fail(DecodeError("beside"))
        engine.drafter.on_decode = lambda pieces: len(engine.drafter.decodes) > 2 and main.set()
        assert its(engine.submit(weak_to_strong_writer(*PROMPTS[0], overlaps=True)).result()) == written_alone()[0]


# Ending


def test_a_cancel_stops_the_decode_of_its_own_context_and_no_other():
    with engine_of(parallel=2, overlap=True) as engine:
        go_on = threading.Event()
        engine.drafter.on_decode = lambda pieces: go_on.wait(PATIENCE_S)
        engine.base.on_decode = lambda pieces: soon(lambda: engine.base.flag.is_set)
        kept = engine.submit(plain([1, 2], 9, source="drafter"))
        cancelled = engine.submit(plain([1, 2], 9))
        soon(lambda: engine.drafter.decodes and engine.base.decodes)
        cancelled.cancel()
        assert cancelled.result().finish_reason == "cancelled" and not engine.drafter.flag.is_set
        go_on.set()
        assert len(kept.result().tokens) == 9


def test_a_cancelled_reply_ends_behind_the_decode_that_others_need():
    """It would give its text back while that is written into, and be handed rows once it is over."""
    go_on = threading.Event()
    with engine_of(parallel=3, overlap=True) as engine:
        engine.base.on_decode = lambda pieces: len(pieces) == 2 and go_on.wait(PATIENCE_S)
        kept, cancelled = (engine.submit(plain([1 + n, 2], 60)) for n in range(2))
        soon(lambda: engine.base.decodes and len(engine.base.decodes[-1]) == 2)
        cancelled.cancel()
        engine.submit(plain([3, 2], 5, source="drafter")).result()  # the engine has looked at all of them
        assert [task.is_over for task in engine._active if task.is_cancelled] == [False]
        go_on.set()
        assert cancelled.result().finish_reason == "cancelled"
        assert its(kept.result()) == its(alone(plain([1, 2], 60)))


@pytest.mark.parametrize("n_replies", [1, 3])
def test_a_close_ends_what_both_are_computing(n_replies):
    with engine_of(parallel=6, overlap=True) as engine:
        for context in (engine.drafter, engine.base):
            context.on_decode = lambda pieces, context=context: (
                len(context.decodes) > 9 and soon(lambda: context.flag.is_set)
            )
        writers = [plain([1 + n, 2], 4000, source=source) for n in range(n_replies) for source in ("drafter", "base")]
        streams = [engine.submit(writer) for writer in writers]
        soon(lambda: min(len(engine.drafter.decodes), len(engine.base.decodes)) > 9)
        engine.close()
        assert all(stream.result().finish_reason == "cancelled" for stream in streams)
        with pytest.raises(ClosedError):
            engine.submit(plain([1, 2], 3))


def test_its_threads_are_there_only_while_there_is_work(monkeypatch):
    monkeypatch.setattr("edge_wsd.engine.engine._IDLE_S", 0.05)
    before = len(decode_threads())
    with engine_of(overlap=True) as engine:
        for _ in range(2):
            engine.submit(weak_to_strong_writer(*PROMPTS[0])).result()
            soon(lambda: engine._thread is None)
            assert len(decode_threads()) == before


def test_without_overlap_there_is_no_such_thread():
    found = []
    with engine_of() as engine:
        engine.base.on_decode = lambda pieces: found.append(len(decode_threads()))
        engine.submit(weak_to_strong_writer(*PROMPTS[0])).result()
    assert found and not any(found)


# Errors


def test_a_decode_that_fails_once_in_its_thread_costs_nobody_a_word():
    expected = written_alone()
    with engine_of(parallel=4, overlap=True) as engine:
        for context in (engine.drafter, engine.base):
            context.on_decode = lambda pieces: fail(DecodeError("for once"), at=len(pieces) > 2)
        with held(engine.drafter):
            streams = [engine.submit(weak_to_strong_writer(*prompts)) for prompts in PROMPTS[:4]]
        assert [its(stream.result()) for stream in streams] == expected[:4]


@pytest.mark.parametrize("error", [DecodeError("damaged"), LogitsError("no numbers")], ids=["decode", "logits"])
def test_an_error_in_its_thread_ends_the_replies_of_that_context_alone(error):
    expected = its(alone(plain([3, 2], 30, source="drafter")))
    with engine_of(parallel=2, overlap=True) as engine:

        def broken(pieces):
            if isinstance(error, LogitsError):
                engine.base.wipe()
            raise error

        engine.base.on_decode = broken
        lost = engine.submit(plain([1, 2], 9))
        kept = engine.submit(plain([3, 2], 30, source="drafter"))
        with pytest.raises(type(error), match=str(error)):
            lost.result()
        assert its(kept.result()) == expected


def test_what_is_no_common_error_reaches_everybody_who_waits():
    with engine_of(parallel=2, overlap=True) as engine:
        engine.base.on_decode = lambda pieces: fail(SystemExit("a fault"))
        with held(engine.base):
            streams = [engine.submit(plain([1, 2], 4000, source=source)) for source in ("base", "drafter", "base")]
        for stream in streams:
            with pytest.raises(SystemExit, match="a fault"):
                stream.result()
        assert not engine._memories["base"].used and not engine._memories["drafter"].used


def test_a_machine_that_has_no_more_threads_for_a_decode_says_so(monkeypatch):
    with engine_of(overlap=True) as engine:
        with monkeypatch.context() as patch:
            patch.setattr(OwnThread, "_begin_thread", lambda self: fail(RuntimeError("can't start new thread")))
            with pytest.raises(RuntimeError, match="can't start new thread"):
                engine.submit(plain([1, 2], 3)).result()
        assert len(engine.submit(plain([1, 2], 3)).result().tokens) == 3


# Whose turn it is


def test_a_long_prompt_is_read_in_small_pieces_while_others_are_written_elsewhere():
    """They may want the base at any moment; only who is really alone may keep it for longer."""
    with engine_of(parallel=2, overlap=True) as engine:
        with held(engine.drafter):
            drafting = engine.submit(plain([1, 2], 3, source="drafter"))
            soon(lambda: engine.drafter.decodes)
            engine.submit(plain(LONG_PROMPT, 1)).result()
            assert max(sum(len(read.tokens) for read in reads) for reads in engine.base.decodes) <= 128
        drafting.result()
        n_before = len(engine.base.decodes)
        engine.submit(plain(LONG_PROMPT[::-1], 1)).result()
        assert max(sum(len(read.tokens) for read in reads) for reads in engine.base.decodes[n_before:]) > 128


# Locks


def test_contexts_share_the_lock_of_the_process_unless_they_overlap():
    with engine_of() as engine:
        assert engine.drafter.lock is engine.base.lock is library.LOCK
    with engine_of(overlap=True) as engine:
        assert len({id(lock) for lock in (engine.drafter.lock, engine.base.lock, library.LOCK)}) == 3


def test_a_lock_of_its_own_counts_as_held_by_the_thread_that_holds_it():
    """A pair that is closed in a signal handler must know whether it has interrupted a use of either context."""
    with engine_of(overlap=True) as engine:
        assert not library.holds_lock()
        with engine.base.lock:
            assert library.holds_lock()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_in_a_forked_child_no_lock_is_held_by_a_thread_that_is_not_there():
    """A close there would wait for ever."""
    holds, go_on = threading.Event(), threading.Event()

    def hold(lock):
        with lock:
            holds.set()
            go_on.wait(PATIENCE_S)

    with engine_of(overlap=True) as engine:
        holder = threading.Thread(target=hold, args=(engine.base.lock,))
        holder.start()
        assert holds.wait(PATIENCE_S)
        if (child := os.fork()) == 0:
            os._exit(0 if engine.base.lock.acquire(timeout=10) else 1)
        try:
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        finally:
            go_on.set()
            holder.join()


def test_errors_that_one_thread_logs_are_no_others():
    """With one list for all, a decode that began would have emptied what another had just been told."""
    arrived = threading.Event()

    def another():
        with library.error_lines() as lines:
            library._sink.write(4, b"of another\n", None)
            assert list(lines) == ["of another"]
        arrived.set()

    with library.error_lines() as lines:
        library._sink.write(4, b"of this one\n", None)
        thread = threading.Thread(target=another)
        thread.start()
        thread.join()
        assert arrived.is_set() and list(lines) == ["of this one"]


def test_nothing_is_raised_where_all_of_a_decode_were_cancelled():
    with engine_of(parallel=2, overlap=True) as engine:
        engine.base.on_decode = lambda pieces: fail(Cancelled("cancelled"), at=len(engine.base.decodes) % 2)
        assert its(engine.submit(plain([1, 2], 9)).result()) == its(alone(plain([1, 2], 9)))
