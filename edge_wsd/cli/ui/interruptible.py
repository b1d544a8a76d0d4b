"""Work that Ctrl-C stops at once: it runs in a thread, and the main thread only waits and shows.

>>> list(Interruptible(lambda: iter("abc"), cancel=lambda: None))
['a', 'b', 'c']
"""

from __future__ import annotations

import contextlib
import queue
import signal
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, Generic, TypeVar

from edge_wsd.cli.ui.terminal_state import leave_at_once

T = TypeVar("T")
_END = object()
# A signal does not always wake who waits: never on Windows, and not if it meets another thread or comes a moment early.
_TICK_S = 0.25
_CTRL_C = (signal.SIGINT,)
_ALL_ENDS = (*_CTRL_C, *(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)))


class Interruptible(Generic[T]):
    """Iterates over `work()` in a thread of its own.

    A signal cannot interrupt a thread that is inside C code, such as the pass over a prompt; the waiting main
    thread takes it and calls `cancel`, which must make the work end by itself soon. What it still yields is
    delivered, and `interrupted` is True. Errors of the work are raised here. A second Ctrl-C ends the process
    at once.
    """

    def __init__(
        self,
        work: Callable[[], Iterable[T]],
        *,
        cancel: Callable[[], object],
        signals: Sequence[signal.Signals] = _CTRL_C,
        waiting: Callable[[], object] | None = None,
    ) -> None:
        """`signals` are those that interrupt; `waiting` is called now and then while nothing comes."""
        self._work = work
        self._cancel = cancel
        self._signals = signals
        self._waiting = waiting
        self._items: queue.SimpleQueue[object] = queue.SimpleQueue()
        self.interrupted = False

    def __iter__(self) -> Generator[T, None, None]:
        """Close it (`contextlib.closing`) when leaving early: the work is then cancelled and waited for."""
        thread = threading.Thread(target=self._run, name="edge-wsd work", daemon=True)
        with self._listening():
            thread.start()
            try:
                while (item := self._wait()) is not _END:
                    if isinstance(item, _Failure):
                        raise item.error
                    yield from self._deliver(item)
            finally:
                thread.join()

    def _deliver(self, item: object) -> Generator[T, None, None]:
        try:
            yield item  # type: ignore[misc]  # only `_run` puts items, and those are of type T
        except GeneratorExit:
            self._cancel()
            raise

    def _wait(self) -> object:
        while True:
            with contextlib.suppress(queue.Empty):
                return self._items.get(timeout=_TICK_S)
            if self._waiting is not None:
                self._waiting()

    @contextmanager
    def _listening(self) -> Iterator[None]:
        before: dict[signal.Signals, Any] = {}
        if threading.current_thread() is threading.main_thread():  # no other thread may listen
            before = {each: signal.getsignal(each) for each in self._signals}
        # A background job takes no Ctrl-C, and `nohup` no hang-up; None is a handler that could not be set again.
        before = {each: handler for each, handler in before.items() if handler not in (signal.SIG_IGN, None)}
        try:
            for each in before:
                signal.signal(each, self._on_interrupt)
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)

    def _run(self) -> None:
        try:
            items = self._work()
            if self.interrupted:  # before the work was there to hear it
                self._cancel()
            for item in items:
                self._items.put(item)
        except BaseException as error:  # handed to the main thread, which raises it
            self._items.put(_Failure(error))
        self._items.put(_END)

    def _on_interrupt(self, number: int, _frame: FrameType | None) -> None:
        if self.interrupted:
            leave_at_once(128 + number)
        self.interrupted = True
        self._cancel()


class _Failure:
    def __init__(self, error: BaseException) -> None:
        self.error = error


def call(work: Callable[[], T], *, cancel: Callable[[], object], waiting: Callable[[], object] | None = None) -> T:
    """The result of `work()`, run in a thread. Raises KeyboardInterrupt after Ctrl-C, however it ended.

    The end of the session or of the system counts as Ctrl-C: long work leaves nothing half-done then either.
    """
    job: Interruptible[T] = Interruptible(lambda: [work()], cancel=cancel, signals=_ALL_ENDS, waiting=waiting)
    try:
        results = list(job)
    except Exception as error:
        if job.interrupted:
            raise KeyboardInterrupt from error
        raise
    if job.interrupted:
        _close(results[0])
        raise KeyboardInterrupt
    return results[0]


def _close(result: object) -> None:
    close = getattr(result, "close", None)
    if callable(close):
        close()
