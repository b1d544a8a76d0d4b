"""The engine: one thread that owns both contexts, and writes all replies that were asked for.

It lets replies begin, makes a step for them again and again (`steps.py`), and lets them go once they are over. It does
not know what a reply is or what its passes are for. Where the contexts compute on different devices, they may do so at
the same time (`overlapped_steps.py`): each then has a thread for its decodes, and all else stays in this one.

>>> engine = Engine({"drafter": drafter_context, "base": base_context}, parallel=4)
>>> stream = engine.submit(lambda prefixes: write_reply(prefixes, ...))
"""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from edge_wsd.decoding.costs import Costs
from edge_wsd.decoding.events import Reply, Source
from edge_wsd.decoding.protocols import Writing
from edge_wsd.engine.overlapped_steps import OverlappedSteps
from edge_wsd.engine.prefixes import Prefixes
from edge_wsd.engine.steps import Steps
from edge_wsd.engine.stream import Stream
from edge_wsd.engine.task import Task
from edge_wsd.errors import BusyError, ClosedError, QueueFullError
from edge_wsd.llama.context import Context

T = TypeVar("T")
Memories = Mapping[Source, Prefixes]
"""What each model's context holds. A reply takes its sequences from here."""
LONGEST_QUEUE = 256
_MOST_IDLE = 2
"""Idle texts in each context. Attention passes over their cells as well: 14 texts of 490 tokens make a tiny model more
than ten times slower (`scripts/bench_idle.py`), and a saved text comes back in the time of reading a few tokens."""
_IDLE_S = 1.0
"""After this long without work the engine ends its thread."""


class Engine:
    """Writes replies over a pair's contexts. Close it before them."""

    def __init__(
        self,
        contexts: Mapping[Source, Context],
        *,
        parallel: int = 1,
        longest_queue: int = LONGEST_QUEUE,
        cache_bytes: Mapping[Source, int] | None = None,
        overlap: bool = False,
        costs: Costs | None = None,
        on_idle: Callable[[], object] | None = None,
    ) -> None:
        """`parallel` replies are written at once, and `longest_queue` more may wait. `cache_bytes` is how much of the
        host's memory texts that have left a context may take. With `overlap` both contexts decode at the same time.
        `costs` is told what passes take. `on_idle` is called by the engine's thread when it ends, for want of work or
        because of `close`.
        """
        self._on_idle: Final = on_idle
        self._memories: Final = {}
        for source, context in contexts.items():
            n_bytes = (cache_bytes or {}).get(source, 0)
            most_idle = _MOST_IDLE if n_bytes else max(_MOST_IDLE, parallel)
            self._memories[source] = Prefixes(context, most_idle=most_idle, most_saved_bytes=n_bytes)
        make_steps = OverlappedSteps if overlap else Steps
        self._steps: Final[Steps] = make_steps(self._memories, costs or Costs())
        self._parallel = parallel
        self._longest_queue = longest_queue
        self._lock = threading.RLock()  # a `Condition` takes it in Python, where Ctrl-C can come right behind that
        self._work = threading.Condition(self._lock)
        self._queue: deque[Task] = deque()
        self._active: list[Task] = []  # the oldest first
        self._thread: threading.Thread | None = None
        self._closed = False
        self._process = os.getpid()
        _engines.add(self)

    def submit(
        self,
        write: Callable[[Memories], Writing[Reply]],
        *,
        unwritten: Callable[[], Reply] | None = None,
    ) -> Stream:
        """Queue a reply to be written in its turn. `unwritten` as for `Task`.

        Raises `QueueFullError`, `ClosedError`, and `ForkedError` in a forked child.
        """
        for memory in self._memories.values():
            memory.context.require_open()
        task = Task(write(self._memories), self._heard_cancel, unwritten)
        stream = Stream(task)  # if this call is interrupted below, it is dropped and so cancelled
        with self._lock:
            if self._closed:
                raise ClosedError("this pair is closed; load it again")
            n_waiting = len(self._queue) - max(0, self._parallel - len(self._active))
            if n_waiting >= self._longest_queue:
                waiting = "1 reply is" if n_waiting == 1 else f"{n_waiting} replies are"
                raise QueueFullError(f"{waiting} waiting already, the most allowed; try again later")
            if self._thread is None:
                self._begin_thread()
            self._queue.append(task)
            self._steps.hurry()
            self._work.notify()
        return stream

    def call(self, work: Callable[[Memories], T]) -> T:
        """Do `work` with what the contexts hold, in the engine's thread and in its turn, and return its result.

        Raises what `work` raises, and as `submit` does.
        """
        results: list[T] = []

        def write(memories: Memories) -> Writing[Reply]:
            results.append(work(memories))
            yield from ()
            return Reply("", (), (), "stop", None)

        self.submit(write).result()
        return results[0]

    def close(self) -> None:
        """Cancel all replies, and return when the last has ended. Closing twice does nothing.

        Raises `BusyError` in a signal handler that has interrupted this thread during a call to the engine: each would
        wait for the other.
        """
        if self._process != os.getpid():
            return
        if self._lock._is_owned():  # type: ignore[attr-defined]
            raise BusyError("an engine cannot be closed during a call to it (in a signal handler?)")
        with self._lock:
            self._closed = True
            for task in (*self._active, *self._queue):
                task.cancel()
            for memory in self._memories.values():
                memory.stop_saving()
            self._work.notify()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            while thread.is_alive():  # in short waits, so that signals are handled
                thread.join(timeout=0.25)
        for memory in self._memories.values():
            memory.close()

    # The thread

    def _begin_thread(self) -> None:
        self._thread = threading.Thread(target=self._run, name="edge-wsd engine", daemon=True)
        try:
            self._thread.start()
        except BaseException:  # no more threads can be started, or Ctrl-C: if the thread did start, it ends at once
            self._thread = None
            raise

    def _run(self) -> None:
        try:
            while self._admit():
                self._end_cancelled()
                self._steps.take(self._active)
                self._retire()
        except BaseException as error:  # a bug of ours; but nobody may wait for a thread that is gone
            self._give_up(error)

    def _admit(self) -> bool:
        """Let the next replies begin. False once there is nothing left to do: then the thread ends."""
        with self._lock:
            if self._thread is not threading.current_thread():
                return False
            while not self._active and not self._queue:
                if self._closed or not self._work.wait(timeout=_IDLE_S):
                    if self._queue:
                        continue
                    self._steps.rest()
                    if self._on_idle is not None:  # before another thread can begin, and `close` waits for it
                        self._on_idle()
                    self._thread = None
                    return False
            self._steps.take_time()  # what hurried is seen below, and in `_end_cancelled`
            skipped = [task for task in self._queue if task.is_cancelled]
            self._queue = deque(task for task in self._queue if not task.is_cancelled)
            begun = []
            while self._queue and len(self._active) < self._parallel:
                begun.append(self._queue.popleft())
                self._active.append(begun[-1])
        for task in skipped:
            task.skip()
        for task in begun:
            task.begin()
        return True

    def _end_cancelled(self) -> None:
        for task in self._active:
            if task.is_cancelled and not task.is_over and not self._steps.holds(task):
                task.end_early()

    def _retire(self) -> None:
        """Replies that are over make room for others, once nothing is computed for them any more."""
        gone = [task for task in self._active if task.is_over and not self._steps.holds(task)]
        if gone:
            with self._lock:
                self._active = [task for task in self._active if task not in gone]
            self._steps.made_room()

    # When something goes wrong

    def _give_up(self, error: BaseException) -> None:
        self._steps.rest()
        with self._lock:
            self._closed, self._thread = True, None
            tasks = [*self._active, *self._queue]
            self._active, self._queue = [], deque()
        for task in tasks:
            task.give_up(error)

    def _heard_cancel(self) -> None:
        """Called when a reply was cancelled. Safe in any thread and at any moment: takes no lock."""
        self._steps.hurry()


_engines: weakref.WeakSet[Engine] = weakref.WeakSet()


def _close_all() -> None:
    """Before the interpreter exits: a thread that is still decoding would be cut off in the middle."""
    for engine in list(_engines):
        engine.close()


atexit.register(_close_all)
