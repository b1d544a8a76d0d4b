"""Memory that is shared, full, lost, or read by a decode that failed: nobody's text is another one for it."""

import random

import pytest

from edge_wsd.errors import ContextFullError, DecodeError, LogitsError
from tests.fake_contexts import (
    LONG_PROMPT,
    PROMPTS,
    FakeSampler,
    alone,
    engine_of,
    fail,
    held,
    its,
    plain,
    weak_to_strong_writer,
)

pytestmark = [
    pytest.mark.usefixtures("in_bounded_time"),
    pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning"),
]


@pytest.mark.parametrize("can_cut", [True, False])
@pytest.mark.parametrize("chunk", [4, 8])
@pytest.mark.parametrize("draws", [False, True])
def test_what_a_failed_decode_has_read_nevertheless_is_read_again_for_its_rows(chunk, can_cut, draws):
    """llama.cpp keeps the parts of a batch that were finished; their rows were missing, and later ones moved up. Of a
    text that was finished whole one token was read again, and no more: then draws were of rows that were gone.
    """

    def writer(n):
        samplers = [FakeSampler(random.Random(2 * n + i)) for i in range(2)] if draws else (None, None)
        return weak_to_strong_writer(*PROMPTS[n], samplers, chunk=chunk, temperature=float(draws))

    expected = [its(alone(writer(n), can_cut=can_cut)) for n in range(4)]
    rng = random.Random(chunk)
    with engine_of(parallel=4, can_cut=can_cut) as engine:

        def half(pieces):
            if rng.random() < 0.3 and len(pieces) > 1:
                for piece in pieces:
                    piece.sequence.tokens += piece.tokens[: rng.randint(0, len(piece.tokens))]
                raise DecodeError("half of it was read")

        engine.base.on_decode = engine.drafter.on_decode = half
        with held(engine.drafter):
            streams = [engine.submit(writer(n)) for n in range(4)]
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
            long = engine.submit(plain(LONG_PROMPT[:200], 3))
        assert len(short.result().tokens) == 30
        with pytest.raises(ContextFullError):
            long.result()
        assert len(engine.submit(plain([1, 2], 3)).result().tokens) == 3


@pytest.mark.parametrize("prompt", [LONG_PROMPT[:301], LONG_PROMPT[:3000]], ids=["by one token", "by far"])
def test_a_text_that_is_longer_than_its_context_fails_at_once_and_takes_nothing_from_anybody(prompt):
    """What fitted of it was read first, and to make room for the rest idle texts were dropped and replies evicted."""
    expected = its(alone(plain([1, 2], 200)))
    with engine_of(parallel=3, n_ctx=300, room=600) as engine:
        engine.submit(plain([7, 8] * 30, 5)).result()  # idle from now on
        with held(engine.base):
            first = engine.submit(plain([1, 2], 200))
            long = engine.submit(plain(prompt, 1))
        with pytest.raises(ContextFullError) as caught:
            long.result()
        assert (caught.value.needed, caught.value.available) == (len(prompt), 300)
        assert its(first.result()) == expected
        assert not any(set(prompt[20:40]) <= set(read.tokens) for reads in engine.base.decodes for read in reads)
        assert [read.position for reads in engine.base.decodes for read in reads].count(0) == 2
        n = len(engine.base.decodes)
        engine.submit(plain([7, 8] * 30, 1)).result()
        assert sum(len(read.tokens) for reads in engine.base.decodes[n:] for read in reads) == 1


def test_a_text_that_grows_beyond_its_context_fails_there():
    with engine_of(n_ctx=300) as engine:
        stream = engine.submit(plain([1, 2], 400))
        with pytest.raises(ContextFullError) as caught:
            stream.result()
        assert (caught.value.needed, caught.value.available) == (301, 300)
        assert len(engine.submit(plain([1, 2], 3)).result().tokens) == 3


def test_a_beginning_that_two_have_in_common_is_read_once():
    system = LONG_PROMPT[:300]
    with engine_of(parallel=2) as engine:
        engine.submit(plain([*system, 1], 2)).result()
        n = sum(len(read.tokens) for reads in engine.base.decodes for read in reads)
        with held(engine.base):
            streams = [engine.submit(plain([*system, 2, k, k], 2)) for k in (3, 4)]
        for stream in streams:
            stream.result()
        assert sum(len(read.tokens) for reads in engine.base.decodes for read in reads) - n < 20


@pytest.mark.parametrize("can_share", [True, False], ids=["together", "one at a time"])
@pytest.mark.parametrize("parallel", [2, 8])
@pytest.mark.parametrize("length", [100, 700])
def test_a_beginning_that_replies_have_in_common_is_read_once_although_they_begin_together(length, parallel, can_share):
    """Each of them found nothing in memory, and read the system prompt of all by itself."""
    system = [1 + n % 7 for n in range(length)]
    writers = [plain([*system, *([n % 9] * 40), n], 5) for n in range(8)]
    expected = [its(alone(writer)) for writer in writers]
    with engine_of(parallel=parallel, can_share=can_share) as engine:
        with held(engine.base):
            first = engine.submit(plain([99], 2))
            streams = [engine.submit(writer) for writer in writers]
        assert [its(stream.result()) for stream in streams] == expected
        first.result()
        n_read = sum(len(read.tokens) for decode in engine.base.decodes for read in decode)
    assert n_read == 2 + length + 8 * (40 + 5)


def test_whoever_waits_for_a_beginning_reads_it_if_the_older_reply_ends_early():
    system = [1 + n % 7 for n in range(700)]
    younger = plain([*system, 4, 5], 5)
    with engine_of(parallel=2, batch=64) as engine:
        with held(engine.base):
            older = engine.submit(plain([*system, 2, 3], 5))
            stream = engine.submit(younger)
        engine.base.on_decode = lambda pieces: engine.base.n_decodes == 3 and older.cancel()
        assert its(stream.result()) == its(alone(younger))
        assert older.result().finish_reason == "cancelled"
