"""Events of a reply in the thread that an application chooses: its window's, a coroutine's, or that of a timer."""

import asyncio
import queue
import threading
import time
from contextlib import suppress

import pytest

from edge_wsd import BusyError, Finished, Options, Pair, Token
from edge_wsd.errors import PairDiedError
from edge_wsd.llama.settings import ModelSettings

QUESTION = "How do I list files by size?"
SETTINGS = ModelSettings(threads=1, context_length=512)
ANSWER = Options(max_tokens=40, chunk=4, propose=4)


@pytest.fixture(scope="module", params=[False, True], ids=["in memory", "isolated"])
def pair(request):
    with Pair.demo(drafter_settings=SETTINGS, base_settings=SETTINGS, parallel=2, isolate=request.param) as pair:
        yield pair


class Window:
    """A program with one thread of its own that does, one after the other, what others ask it to do soon."""

    def __init__(self):
        self.work, self.heard, self.threads, self.errors = queue.SimpleQueue(), [], set(), []

    def show(self, event):
        self.threads.add(threading.get_ident())
        self.heard.append(event)

    def run(self, until):
        end = time.monotonic() + 60
        while not until():
            assert time.monotonic() < end
            with suppress(queue.Empty):
                self.work.get(timeout=0.05)()


def kinds(events):
    return [type(event) for event in events]


def test_events_are_heard_in_the_chosen_thread_and_in_order(pair):
    window, expected = Window(), list(pair.session(options=ANSWER).stream(QUESTION))
    chat = pair.session(options=ANSWER)
    chat.stream(QUESTION).deliver(window.show, window.errors.append, call=window.work.put)  # nobody holds it
    window.run(lambda: window.heard and isinstance(window.heard[-1], Finished))
    assert window.threads == {threading.get_ident()} and window.errors == []
    texts = [[event.text for event in events if isinstance(event, Token)] for events in (window.heard, expected)]
    assert texts[0] == texts[1] and kinds(window.heard) == kinds(expected)
    assert chat.last is window.heard[-1].reply and len(chat.messages) == 2


def test_several_are_delivered_at_once_and_one_is_cancelled(pair):
    windows, chats = [Window() for _ in range(5)], [pair.session(options=ANSWER) for _ in range(5)]
    work = queue.SimpleQueue()
    for window, chat in zip(windows, chats, strict=True):
        window.work = work
        chat.stream(QUESTION).deliver(window.show, window.errors.append, call=work.put)
    chats[4].cancel()
    windows[0].run(lambda: all(window.heard and isinstance(window.heard[-1], Finished) for window in windows))
    answers = {window.heard[-1].reply.text for window in windows[:4]}
    assert len(answers) == 1 and answers.pop()
    assert all(window.heard[-1].reply.finish_reason != "cancelled" for window in windows[:4])
    assert windows[4].heard[-1].reply.finish_reason in ("cancelled", "length")


def test_an_event_loop_can_be_the_one_that_hears(pair):
    async def together():
        loop, done, heard = asyncio.get_running_loop(), asyncio.Event(), []

        def show(event):
            heard.append(event)
            if isinstance(event, Finished):
                done.set()

        stream = pair.session(options=ANSWER).stream(QUESTION)
        stream.deliver(show, pytest.fail, call=loop.call_soon_threadsafe)
        await done.wait()
        return heard

    assert isinstance(asyncio.run(together())[-1], Finished)


def test_coroutines_read_many_at_once_while_others_run(pair):
    async def together():
        async def read(n):
            return [event async for event in pair.session(options=ANSWER).stream(f"How do I list {n} files?")]

        ticks = 0

        async def tick():
            nonlocal ticks
            while True:
                await asyncio.sleep(0)
                ticks += 1

        ticking = asyncio.create_task(tick())
        answers = await asyncio.gather(*map(read, range(6)))
        ticking.cancel()
        return answers, ticks

    answers, ticks = asyncio.run(together())
    assert all(isinstance(events[-1], Finished) for events in answers) and ticks > 6


def test_a_program_may_look_now_and_then(pair):
    """A timer of Tk's."""
    stream, heard = pair.session(options=ANSWER).stream(QUESTION), []
    while not stream.is_over:
        heard += stream.available()
        time.sleep(0.001)
    assert isinstance(heard[-1], Finished) and list(stream.available()) == []
    assert "".join(event.text for event in heard if isinstance(event, Token)) == heard[-1].reply.text


def test_only_one_reads(pair):
    window, stream = Window(), pair.session(options=ANSWER).stream(QUESTION)
    stream.deliver(window.show, window.errors.append, call=window.work.put)
    with pytest.raises(BusyError):
        stream.deliver(window.show, window.errors.append, call=window.work.put)
    window.run(lambda: stream.is_over)


def test_what_on_event_raises_closes_the_stream(pair):
    window, chat = Window(), pair.session(options=ANSWER)

    def show(event):
        raise ZeroDivisionError

    stream = chat.stream(QUESTION)
    stream.deliver(show, pytest.fail, call=window.work.put)
    with pytest.raises(ZeroDivisionError):
        window.run(lambda: False)
    assert stream.is_over and chat.messages == () and chat.ask(QUESTION).text


def test_a_window_that_is_gone_ends_the_reply_alone(pair):
    """The event loop of a window that was closed takes nothing any more."""

    def gone(work):
        raise RuntimeError("the loop is closed")

    stream = pair.session(options=ANSWER).stream(QUESTION)
    with pytest.raises(RuntimeError, match="closed"):
        stream.deliver(print, print, call=gone)
    stream.close()
    assert pair.session(options=ANSWER).ask(QUESTION).text


def test_a_death_is_heard_by_on_error():
    import os
    import signal

    window = Window()
    with Pair.demo(drafter_settings=SETTINGS, base_settings=SETTINGS, isolate=True) as pair:
        long = Options(max_tokens=400, stop_loops=False, logit_bias={1: -float("inf")})
        pair.session(options=long).stream(QUESTION).deliver(window.show, window.errors.append, call=window.work.put)
        window.run(lambda: len(window.heard) > 3)
        os.kill(pair.process_id, signal.SIGKILL)
        window.run(lambda: window.errors)
    assert [type(error) for error in window.errors] == [PairDiedError]
