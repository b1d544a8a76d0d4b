"""How replies end early, with the engine, or with whoever reads them."""

import _thread
import asyncio
import gc
import threading
import weakref
from contextlib import ExitStack

import pytest

from edge_wsd.decoding.events import Finished, Token
from edge_wsd.engine import engine as engine_module
from edge_wsd.engine.engine import Engine
from edge_wsd.engine.task import Job
from edge_wsd.errors import BusyError, Cancelled, ClosedError
from tests.fake_contexts import (
    LONG_PROMPT,
    PATIENCE_S,
    PROMPTS,
    UNWRITTEN,
    FakeContext,
    alone,
    engine_of,
    fail,
    held,
    its,
    plain,
    soon,
    weak_to_strong_writer,
)
from tests.interrupts import interrupted_at

pytestmark = [
    pytest.mark.usefixtures("in_bounded_time"),
    pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning"),
]


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


@pytest.mark.parametrize("prompt", [[1, 2, 3], LONG_PROMPT], ids=["writing", "reading"])
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


def test_a_cancel_that_comes_while_a_decode_is_put_together_stops_it(monkeypatch):
    streams, stopped = [], []
    with engine_of(parallel=1) as engine:
        monkeypatch.setattr(Job, "progress", lambda job, model: streams[0].cancel() if streams else None)
        engine.base.on_decode = lambda pieces: soon(lambda: streams) or stopped.append(engine.base.flag.is_set)
        streams.append(engine.submit(plain([1, 2], 50)))
        assert streams[0].result().finish_reason == "cancelled"
        assert stopped[-1] and stopped.count(False) <= 1  # the first may have begun before there was a stream


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

        def wait_for_the_cancel(_pieces):  # the engine may be done with all of them before this thread runs again
            if len(engine.base.decodes) == 10:
                soon(lambda: any(task.is_cancelled for task in engine._active))

        engine.base.on_decode = wait_for_the_cancel
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
        stream = engine.submit(plain([1, 2], 300))
        stream.on_finish = kept.append
        next(stream)
        stream.close()
        assert stream.is_over and list(stream) == [] and kept == []
        with pytest.raises(ClosedError, match="closed before"):
            stream.result()


def test_a_close_that_is_on_its_way_as_the_end_arrives_has_come_first():
    kept = []
    with engine_of(parallel=1) as engine:
        stream = engine.submit(plain([1, 2], 3))
        stream.on_finish = kept.append
        assert stream._ends_now()  # as far as another thread has come with its close
        assert len(list(stream)) == 3 and kept == [] and stream.is_over


def test_a_stream_whose_end_is_being_read_is_over_only_when_that_is_done():
    """Whoever asked the conversation next once did so before the turn was part of it."""
    states = []
    with engine_of(parallel=1) as engine:
        stream = engine.submit(plain([1, 2], 3))
        stream.on_finish = lambda reply: states.append((stream.close(), stream.is_over))
        assert len(stream.result().tokens) == 3
        assert states == [(None, False)] and stream.is_over


def test_a_stream_is_over_for_whom_ctrl_c_interrupts_at_its_end():
    with engine_of(parallel=1) as engine:
        stream = engine.submit(plain([1, 2], 3))
        stream.on_finish = lambda reply: fail(KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            stream.result()
        assert stream.is_over and list(stream) == []


def test_a_stream_that_another_thread_closes_ends_for_its_reader():
    with engine_of(parallel=1) as engine, held(engine.base):
        kept, ended = [], threading.Event()
        stream = engine.submit(plain([1, 2], 300))
        stream.on_finish = kept.append

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


# Closing


def test_closing_ends_every_stream_and_the_thread():
    with engine_of(parallel=8) as engine:
        with held(engine.base):
            streams = [engine.submit(plain([1 + n % 8, n], 4000), unwritten=lambda: UNWRITTEN) for n in range(12)]
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


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_ctrl_c_anywhere_in_a_call_of_submit_leaves_no_lock_taken():
    """A `Condition` takes its lock in Python: whoever was interrupted behind that kept it, and nothing was written any
    more. A stream that was being made printed an error of its own.
    """
    n, was_interrupted = 0, True
    with engine_of(parallel=2) as engine:
        while was_interrupted:
            n += 1
            with held(engine.base):
                first = engine.submit(plain([1, 2], 3))
                was_interrupted = interrupted_at(n, lambda: engine.submit(plain([3, 2], 3)))
                assert not engine._lock._is_owned()
            assert len(first.result().tokens) == 3
    assert n > 10


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


def test_of_two_coroutines_that_read_one_stream_the_second_is_told():
    """The first was never woken again."""

    async def read(stream):
        return [event async for event in stream]

    async def main(stream, release):
        first = asyncio.create_task(read(stream))
        await asyncio.sleep(0)
        with pytest.raises(BusyError, match="another coroutine is reading"):
            await anext(stream)
        release()
        return await asyncio.wait_for(first, PATIENCE_S)

    with engine_of() as engine, ExitStack() as stack:
        stack.enter_context(held(engine.base))
        events = asyncio.run(main(engine.submit(plain([1, 2], 5)), stack.close))
    assert isinstance(events[-1], Finished) and len(events) == 6


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
