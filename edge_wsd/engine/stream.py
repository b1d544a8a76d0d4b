"""A reply that is being written: its events, in the order in which they happen, and its result.

>>> for event in stream: ...
>>> async for event in stream: ...
>>> reply = stream.result()

The engine keeps writing whether or not anybody reads. A stream that nobody refers to any more is cancelled.
"""

from __future__ import annotations

import asyncio
import os
import queue
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Final

from edge_wsd.decoding.events import Event, Finished, Reply
from edge_wsd.engine.event_queue import EventQueue
from edge_wsd.engine.task import Task
from edge_wsd.errors import BusyError, ClosedError, ForkedError

# A signal does not always wake the waiting thread: never on Windows, and not if another thread gets it or it is early.
_TICK_S = 0.25


class Stream:
    """The events of one reply; the last is `Finished`. One thread or coroutine may read them."""

    _over = True  # until it is whole: Ctrl-C may come before

    def __init__(self, task: EventQueue) -> None:
        self._task: Final = task
        self.on_finish: Callable[[Reply], object] | None = None
        """Called with the reply, in the reading thread, before `Finished` is handed out."""
        self._reply: Reply | None = None
        self._ends: deque[None] = deque([None])  # emptied by whatever ends the stream: its last event, or a close
        self._process = os.getpid()
        self._over = False

    @classmethod
    def over(cls, reply: Reply) -> Stream:
        """A stream of a reply that is complete already."""
        return cls(Task.over(reply))

    # Reading

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        """The next event. Raises what ended the reply; Ctrl-C while waiting cancels it."""
        try:
            while not self._over:
                self._require_own_process()
                with suppress(queue.Empty):
                    if (event := self._taken(self._task.events.get(timeout=_TICK_S))) is not None:
                        return event
        except KeyboardInterrupt:
            self.close()
            raise
        raise StopIteration

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        """The same for a coroutine; others run while it waits. Raises `BusyError` if another coroutine is reading."""
        loop, arrived = asyncio.get_running_loop(), asyncio.Event()
        if self._task.on_event is not None:
            raise BusyError("another coroutine is reading this stream; let one of them read it and pass its events on")
        self._task.on_event = partial(_wake, loop, arrived)
        try:
            self._require_own_process()
            while not self._over:
                arrived.clear()
                try:
                    if (event := self._taken(self._task.events.get_nowait())) is not None:
                        return event
                except queue.Empty:
                    await arrived.wait()
        except asyncio.CancelledError:
            self.close()
            raise
        finally:
            self._task.on_event = None
        raise StopAsyncIteration

    def result(self) -> Reply:
        """Wait for the whole reply, skipping its events. Raises what ended it."""
        try:
            for _ in self:
                pass
        except KeyboardInterrupt:  # also between two events
            self.close()
            raise
        if self._reply is None:
            raise self._task.error or ClosedError("this stream was closed before its reply was written")
        return self._reply

    def available(self) -> Iterator[Event]:
        """The events that have come, without waiting: for a program that looks now and then, as a timer of Tk's does.

        Raises what ended the reply. `is_over` says whether there will be more.
        """
        self._require_own_process()
        while not self._over:
            try:
                event = self._taken(self._task.events.get_nowait())
            except queue.Empty:
                return
            if event is not None:
                yield event

    def deliver(
        self,
        on_event: Callable[[Event], object],
        on_error: Callable[[Exception], object],
        *,
        call: Callable[[Callable[[], None]], object],
    ) -> None:
        """Have events handed to `on_event`, and what ended the reply without `Finished` to `on_error`, in a thread of
        your choice. Returns at once; the reply is written to its end even if nobody holds this stream any more.

        `call` gets a function without arguments and sees that it is run soon in that thread. It is called in another
        thread and must not run the function itself: `loop.call_soon_threadsafe`, `queue.put`, the `emit` of a Qt signal
        with a slot in the right thread. What `on_event` raises closes the stream and passes through that function.
        """
        if self._task.on_event is not None:
            raise BusyError("this stream is being read already; let one reader pass its events on")
        self._require_own_process()
        delivery = Delivery(self, on_event, on_error, call)
        self._task.on_event = delivery.wake
        delivery.wake()

    def _taken(self, event: Event | BaseException) -> Event | None:
        """The event for the reader; None once another thread has closed the stream."""
        if self._over:
            return None
        if not isinstance(event, Finished | BaseException):
            return event
        try:
            if not self._ends_now():
                return None
            if isinstance(event, BaseException):
                raise event
            self._reply = event.reply
            if self.on_finish is not None:
                self.on_finish(event.reply)
            return event
        finally:
            self._over = True

    def _ends_now(self) -> bool:
        """True for the first caller only. Not a lock: a close may come in a signal handler or in `__del__`."""
        try:
            self._ends.pop()
        except IndexError:
            return False
        return True

    def _require_own_process(self) -> None:
        if self._process != os.getpid():
            self._over = True
            raise ForkedError("this reply is being written by the process that this one was forked from; read it there")

    # Ending it early

    def cancel(self) -> None:
        """End the reply within one decode, keeping what is written. From any thread; the events end as usual."""
        self._task.cancel()

    def close(self) -> None:
        """End the reply and stop reading it. Does nothing if it is over or its end is just being read."""
        if self._ends_now():
            self._over = True
        self._task.cancel()

    async def aclose(self) -> None:
        """The same."""
        self.close()

    @property
    def is_over(self) -> bool:
        """Whether the end of the reply was read, or the stream was closed."""
        return self._over

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        if not self._over:
            self._task.cancel()


class Delivery:
    """Who hands the events of a stream out, in the thread that `call` leads to."""

    def __init__(
        self,
        stream: Stream,
        on_event: Callable[[Event], object],
        on_error: Callable[[Exception], object],
        call: Callable[[Callable[[], None]], object],
    ) -> None:
        self._stream = stream
        self._on_event = on_event
        self._on_error = on_error
        self._call = call
        self._is_coming = False

    def wake(self) -> None:
        """Something has come. One call suffices for all that comes before it is made."""
        if not self._is_coming:
            self._is_coming = True
            self._call(self._hand_out)

    def _hand_out(self) -> None:
        self._is_coming = False
        events = self._stream.available()
        while True:
            try:
                event = next(events)
            except StopIteration:
                return
            except Exception as error:  # what ended the reply
                self._on_error(error)
                return
            try:
                self._on_event(event)
            except BaseException:
                self._stream.close()
                raise


def _wake(loop: asyncio.AbstractEventLoop, arrived: asyncio.Event) -> None:
    with suppress(RuntimeError):  # the loop is closed, and nothing waits there any more
        loop.call_soon_threadsafe(arrived.set)
