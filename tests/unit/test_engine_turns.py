"""Whose turn it is, over contexts of thirty lines; and that a reply is the same whoever is written beside it."""

import random
from functools import cache
from types import SimpleNamespace

import pytest

from edge_wsd.decoding.events import Reading
from edge_wsd.engine import turns
from edge_wsd.engine.task import SHORT
from edge_wsd.errors import DecodeError, QueueFullError
from tests.fake_contexts import (
    LONG_PROMPT,
    PROMPTS,
    UNWRITTEN,
    FakeSampler,
    alone,
    engine_of,
    fail,
    held,
    its,
    plain,
    soon,
    weak_to_strong_writer,
    without_engine,
)

pytestmark = [
    pytest.mark.usefixtures("in_bounded_time"),
    pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning"),
]


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


@pytest.mark.parametrize("n_tokens", range(6, 18))
def test_the_rows_that_are_drawn_from_stay_together_where_a_pass_is_read_in_pieces(n_tokens):
    """What is drawn from is gone with the next piece."""

    def writer():
        samplers = [FakeSampler(random.Random(n_tokens + i)) for i in range(2)]
        base_prompt = [1 + i % 8 for i in range(n_tokens)]
        return weak_to_strong_writer([3, 1, 2], base_prompt, samplers, chunk=8, temperature=1.0, threshold=0.2)

    assert its(alone(writer(), batch=16)) == its(alone(writer()))


@pytest.mark.parametrize("n_tokens", [1, 16, 40, 55])
@pytest.mark.parametrize("n_rows", [9, 13, 16])
def test_as_many_rows_as_a_decode_can_lend_stay_together_behind_any_prompt(n_tokens, n_rows):
    """More than half of them did not, where the text in front of them had still to be read."""

    def writer():
        return plain([1] * n_tokens, 3, sampler=FakeSampler(random.Random(1)), proposed=[1] * (n_rows - 1))

    assert its(alone(writer(), batch=16)) == its(alone(writer()))


@pytest.mark.parametrize("n_failed", [None, 2], ids=["exact", "behind a decode that failed"])
def test_the_rows_that_are_drawn_from_stay_together_where_a_reply_is_read_by_itself(n_failed):
    """Proposals of more tokens than a piece of a prompt has were read one by one, down to that many."""

    def writer():
        return plain([1, 2, 3], 5, sampler=FakeSampler(random.Random(1)), proposed=[1] * turns.PIECE)

    expected = its(alone(writer()))
    with engine_of(parallel=2, can_share=n_failed is not None) as engine:
        engine.base.on_decode = lambda pieces: fail(DecodeError("once"), at=len(engine.base.decodes) == n_failed)
        assert its(engine.submit(writer()).result()) == expected
        assert len(engine.base.decodes) == 5 + (n_failed is not None)


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


# Whose turn it is


@pytest.mark.parametrize("source", ["drafter", "base"])
@pytest.mark.parametrize("can_share", [True, False], ids=["shared", "exact"])
def test_a_long_prompt_delays_the_next_token_of_another_by_at_most_one_piece(source, can_share):
    with engine_of(parallel=4, can_share=can_share) as engine:
        context = {"drafter": engine.drafter, "base": engine.base}[source]
        with held(context):
            writing = engine.submit(plain([1, 2, 3], 120, source=source))
            soon(lambda: context.decodes)
            others = [engine.submit(plain([*LONG_PROMPT, n], 2, source=source)) for n in range(3)]
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
            long = engine.submit(plain(LONG_PROMPT, 1, source="drafter"))
        assert len(writing.result().tokens) == 20
        long.result()
        n_tokens = [len(reads[0].tokens) for reads in engine.drafter.decodes]
        assert 10 < n_tokens.count(turns.PIECE) <= 22  # one for each of the other's words


def test_the_base_waits_for_so_many_steps_of_the_drafter_at_most_each_time_that_both_are_waited_for():
    drafter, base = object(), object()
    only_drafter, only_base = ([SimpleNamespace(job=SimpleNamespace(context=context))] for context in (drafter, base))
    both = [*only_base, *only_drafter]
    chooser = turns.Turns([drafter, base])
    one_round = [drafter] * turns.MOST_AHEAD + [base]
    assert [chooser.next_context(both) for _ in range(3 * len(one_round))] == 3 * one_round
    for only in (only_drafter, only_base):
        for _ in range(5):
            chooser.next_context(both)
        assert chooser.next_context(only) is only[0].job.context
        assert [chooser.next_context(both) for _ in one_round] == one_round


def test_steps_that_went_on_by_themselves_count_as_turns():
    drafter, base = object(), object()
    both = [SimpleNamespace(job=SimpleNamespace(context=context)) for context in (drafter, base)]
    chooser = turns.Turns([drafter, base])
    for _ in range(3):
        assert chooser.next_context(both) is drafter
        chooser.went_on(turns.MOST_AHEAD - 1)
        assert chooser.next_context(both) is base
    for n_steps in (0, 100):  # of the base, or of a drafter that nobody waited for
        chooser.went_on(n_steps)
    assert [chooser.next_context(both) for _ in range(turns.MOST_AHEAD)] == [drafter] * turns.MOST_AHEAD


def test_who_writes_with_the_drafter_for_ever_does_not_hold_up_the_base():
    """The drafter's passes once came first as long as there was one."""
    with engine_of(parallel=2) as engine:
        n_before = []  # passes of the drafter, at each of the base
        engine.base.on_decode = lambda pieces: n_before.append(len(engine.drafter.decodes))
        with held(engine.drafter):
            drafting = engine.submit(plain([1, 2], 2000, source="drafter"))
            writing = engine.submit(plain([1, 2], 10))
        assert len(writing.result().tokens) == 10
        assert len(n_before) == 10 and 8 * turns.MOST_AHEAD < n_before[-1] < 400
        drafting.close()


@pytest.mark.parametrize("kind", [{"can_share": False}, {"batch": 4}, {"batch": 16}, {}], ids=str)
def test_those_who_write_get_their_turns_evenly(kind):
    """Without sharing, the oldest reply once wrote its last word before the next one wrote its first."""
    with engine_of(parallel=6, **kind) as engine:
        with held(engine.base):
            streams = [engine.submit(plain([1 + n] * 6, 40)) for n in range(6)]
        for stream in streams:
            stream.result()
        decodes, counts = engine.base.decodes, dict.fromkeys(range(6), 0)
        all_write = 1 + max(at for at, reads in enumerate(decodes) if any(read.position < 6 for read in reads))
        for reads in decodes[all_write:]:
            for read in reads:
                counts[read.sequence] += 1
            assert max(counts.values()) - min(counts.values()) <= 2
            if max(counts.values()) == 20:
                break
        assert min(counts.values()) >= 18


def test_without_sharing_a_prompt_is_read_while_another_reply_is_written():
    with engine_of(parallel=2, can_share=False) as engine:
        with held(engine.base):
            writing = engine.submit(plain([1, 2], 400))
            soon(lambda: engine.base.decodes)
            long = engine.submit(plain(LONG_PROMPT[:1000], 1))
        long.result()
        steps = list(steps_of(engine.base))
        last = max(at for at, (_, others) in enumerate(steps) if others)
        assert 5 < sum(own for own, _ in steps[:last]) < 100
        writing.close()


def test_a_prompt_is_read_although_answers_alone_would_fill_every_decode():
    """A quarter of each is the prompt's, and its reply is over long before theirs."""
    with engine_of(parallel=9, batch=8) as engine:
        with held(engine.base):
            writing = [engine.submit(plain([1 + n, 2], 400)) for n in range(8)]
            soon(lambda: engine.base.decodes)
            long = engine.submit(plain([7] * 200, 1))
        long.result()
        assert not any(stream._task.is_over for stream in writing)
        for stream in writing:
            stream.close()


def test_an_answer_that_almost_fills_a_decode_is_written_although_a_prompt_is_read():
    """A quarter of a decode is the prompt's, but not what the first answer needs of it."""
    with engine_of(parallel=2, batch=8) as engine:
        with held(engine.base):
            writing = engine.submit(plain([1, 2], 30, proposed=[1] * 6))
            soon(lambda: engine.base.decodes)
            long = engine.submit(plain([7] * 200, 1))
        assert its(writing.result()) == its(alone(plain([1, 2], 30)))
        long.result()
        sequences = [[read.sequence for read in reads] for reads in engine.base.decodes]
        assert 25 < sum(0 in both and 1 in both for both in sequences) <= 30


@pytest.mark.parametrize("can_share", [True, False], ids=["shared", "exact"])
@pytest.mark.parametrize("somebody_writes", [True, False])
def test_prompts_are_read_in_the_order_in_which_they_came(somebody_writes, can_share):
    with engine_of(parallel=4, can_share=can_share) as engine:
        with held(engine.base):
            writing = engine.submit(plain([5, 6], 2000)) if somebody_writes else None
            streams = [engine.submit(plain([1 + n] * 700, 1)) for n in range(3)]
        for stream in streams:
            stream.result()
        read = [read for reads in engine.base.decodes for read in reads if len(read.tokens) > 1 and read.tokens[0] != 5]
        assert [each.tokens[0] for each in read] == sorted(each.tokens[0] for each in read)
        assert sum(len(each.tokens) for each in read) == 3 * 700
        if writing is not None:
            writing.close()


def test_a_prompt_is_read_in_whole_batches_if_nobody_waits():
    with engine_of(parallel=2) as engine:
        engine.submit(plain(LONG_PROMPT, 1)).result()
        assert [len(reads[0].tokens) for reads in engine.base.decodes] == [512] * 7 + [4000 - 7 * 512]


def test_reading_a_long_prompt_is_told():
    with engine_of(parallel=2) as engine:
        told = [event for event in engine.submit(plain(LONG_PROMPT[:1200], 3)) if isinstance(event, Reading)]
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


@pytest.mark.parametrize("can_share", [True, False], ids=["shared", "exact"])
def test_a_short_prompt_does_not_wait_for_a_long_one_that_came_before_and_neither_stands_still(can_share):
    """Its first token came behind all 1,500 tokens of the other."""
    with engine_of(parallel=4, batch=128, can_share=can_share) as engine:
        with held(engine.base):
            streams = [engine.submit(plain([1] * 2000, 1))]
            streams += [engine.submit(plain([2 + n] * 90, 1)) for n in range(3)]
        for stream in streams:
            stream.result()
        firsts = [{read.tokens[0] for read in reads} for reads in engine.base.decodes]
    last_of = {token: max(i for i, first in enumerate(firsts) if token in first) for token in (1, 2, 3, 4)}
    assert max(last_of[token] for token in (2, 3, 4)) <= 8 < last_of[1]
    if can_share:
        assert all(1 in first for first in firsts[1 : last_of[4]])
