"""An error ends the reply that it came from, and no other; the engine goes on."""

import threading

import pytest

from edge_wsd.decoding.protocols import Pass
from edge_wsd.engine.engine import Engine
from edge_wsd.engine.steps import Steps
from edge_wsd.engine.task import Job
from edge_wsd.engine.turns import Turns
from edge_wsd.errors import ClosedError, DecodeError, LogitsError
from tests.fake_contexts import (
    PROMPTS,
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


def test_after_a_decode_that_failed_each_that_was_in_it_is_tried_by_itself_the_oldest_first():
    with engine_of(parallel=4) as engine:
        with held(engine.base):
            first = engine.submit(plain([5, 5], 3))
            soon(lambda: engine.base.decodes)
            streams = [engine.submit(plain([1 + n, 2], 3)) for n in range(3)]
        del first
        engine.base.on_decode = lambda pieces: fail(DecodeError("for once"), at=len(pieces) > 2)
        for stream in streams:
            stream.result()
        failed = next(at for at, reads in enumerate(engine.base.decodes) if len(reads) > 2)
        in_it = [read.sequence for read in engine.base.decodes[failed]]
        tried = [[read.sequence for read in reads] for reads in engine.base.decodes[failed + 1 :][: len(in_it)]]
        assert tried == [[sequence] for sequence in sorted(in_it)]


def test_a_decode_that_fails_once_costs_nobody_a_word():
    expected = [its(alone(weak_to_strong_writer(*prompts))) for prompts in PROMPTS[:4]]
    with engine_of(parallel=4) as engine:
        for context in (engine.drafter, engine.base):
            context.on_decode = lambda pieces: fail(DecodeError("for once"), at=len(pieces) > 2)
        with held(engine.drafter):
            streams = [engine.submit(weak_to_strong_writer(*prompts)) for prompts in PROMPTS[:4]]
        assert [its(stream.result()) for stream in streams] == expected


def its_victim(job):
    return job._asked.text[:2] == [7, 7]


def breaks(method, n_calls):
    """`method` of a `Job`, which raises for the victim from its call number `n_calls` on."""
    calls = []

    def broken(job, *given):
        if isinstance(given[0] if given else None, Pass):  # it is about to be made
            job._asked = given[0]
        if its_victim(job):
            calls.append(1)
            fail(MemoryError("of the victim"), at=len(calls) >= n_calls)
        return method(job, *given)

    return broken


@pytest.mark.parametrize("n_calls", [1, 4])
@pytest.mark.parametrize("method", ["__init__", "n_left", "n_unread", "next_piece", "progress"])
@pytest.mark.parametrize("can_share", [True, False])
def test_an_error_around_the_decodes_ends_the_reply_that_it_came_from(monkeypatch, method, n_calls, can_share):
    """While pieces are chosen it once closed the engine, with all replies over the pair."""
    expected = [its(alone(plain([3 + n, 2], 12))) for n in range(2)]
    given = getattr(Job, method)
    broken = property(breaks(given.fget, n_calls)) if isinstance(given, property) else breaks(given, n_calls)
    monkeypatch.setattr(Job, method, broken)
    with engine_of(parallel=3, can_share=can_share) as engine:
        with held(engine.base):
            broken = engine.submit(plain([7, 7], 12))
            others = [engine.submit(plain([3 + n, 2], 12)) for n in range(2)]
        with pytest.raises(MemoryError, match="of the victim"):
            broken.result()
        assert [its(stream.result()) for stream in others] == expected
        assert its(engine.submit(plain([3, 2], 12)).result()) == expected[0]
        soon(lambda: engine._memories["base"].used == [])


@pytest.mark.parametrize(
    "where", [(Turns, "next_context"), (Turns, "shares"), (Steps, "_parts"), (Steps, "_make_room")]
)
@pytest.mark.parametrize("n_times", [1, 2])
def test_an_error_of_nobody_in_particular_costs_nobody_a_word_if_it_passes(monkeypatch, where, n_times):
    """Each tries once more, by itself; who fails twice has to end, or all would try for ever."""
    real, calls = getattr(*where), []

    def broken(*given):
        calls.append(1)
        fail(MemoryError("for a moment"), at=5 < len(calls) <= 5 + n_times)
        return real(*given)

    expected = [its(alone(plain([1 + n] * 20, 20))) for n in range(3)]
    with engine_of(parallel=3, room=50 if where[1] == "_make_room" else None) as engine:
        with held(engine.base):
            streams = [engine.submit(plain([1 + n] * 20, 20)) for n in range(3)]
            soon(lambda: engine.base.decodes)
            monkeypatch.setattr(*where, broken)
        ends = []
        for stream in streams:
            try:
                ends.append(its(stream.result()))
            except MemoryError as error:
                ends.append(str(error))
        assert all(end in (one, "for a moment") for end, one in zip(ends, expected, strict=True))
        assert n_times > 1 or ends == expected
        monkeypatch.undo()
        assert its(engine.submit(plain([1] * 20, 20)).result()) == expected[0]


def test_a_reader_who_cannot_be_woken_loses_his_own_reply_and_no_other():
    with engine_of(parallel=2) as engine:
        with held(engine.base):
            deaf, other = engine.submit(plain([1, 2], 20)), engine.submit(plain([3, 2], 20))
            deaf._task.on_event = lambda: fail(RuntimeError("nobody is there"))
        assert its(other.result()) == its(alone(plain([3, 2], 20)))
        with pytest.raises(RuntimeError, match="nobody is there"):
            deaf.result()
        assert engine._memories["base"].used == []


def test_a_reader_who_cannot_be_woken_for_the_end_finds_it_all_the_same():
    with engine_of(parallel=2) as engine:
        with held(engine.base):
            deaf, other = engine.submit(plain([1, 2], 20)), engine.submit(plain([3, 2], 30))
            deaf._task.on_event = lambda: fail(RuntimeError("nobody"), at=deaf._task.is_over)
        assert len(other.result().tokens) == 30 and len(deaf.result().tokens) == 20


def test_an_error_of_what_a_cancelled_reply_was_to_be_is_its_own():
    with engine_of(parallel=1) as engine:
        with held(engine.base):
            first = engine.submit(plain([1, 2], 20))
            soon(lambda: engine.base.decodes)
            second = engine.submit(plain([1, 2], 3), unwritten=lambda: fail(MemoryError("nothing left")))
            third = engine.submit(plain([3, 2], 3))
            second.cancel()
        assert len(first.result().tokens) == 20 and len(third.result().tokens) == 3
        with pytest.raises(MemoryError, match="nothing left"):
            second.result()


def test_an_error_of_what_a_reply_gives_back_is_its_own(monkeypatch):
    """Also where another error has just ended it."""
    with engine_of(parallel=2) as engine:
        with held(engine.base):
            broken, other = engine.submit(plain([7, 7], 20)), engine.submit(plain([3, 2], 20))
            soon(lambda: engine.base.decodes)
            real = engine._memories["base"].give_back

            def give_back(sequence):
                real(sequence)
                fail(DecodeError("cannot be cleared"), at=sequence.tokens[:2] == [7, 7])

            monkeypatch.setattr(engine._memories["base"], "give_back", give_back)
        with pytest.raises(DecodeError, match="cannot be cleared"):
            broken.result()
        assert its(other.result()) == its(alone(plain([3, 2], 20)))


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
