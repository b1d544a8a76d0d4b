"""The engine: one thread that owns both contexts, and writes all replies that were asked for.

Each step picks one context and makes one decode of what all replies wait for there. The engine does not know what a
reply is or what its passes are for; `turns.py` decides whose turn it is. Where the contexts compute on different
devices, they may do so at the same time (`overlap`): each then has a thread for its decodes, and all else stays here.

>>> engine = Engine({"drafter": drafter_context, "base": base_context}, parallel=4)
>>> stream = engine.submit(lambda prefixes: write_reply(prefixes, ...))
"""

from __future__ import annotations

import atexit
import os
import queue
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from edge_wsd._native import CancelFlag
from edge_wsd.decoding.costs import Costs
from edge_wsd.decoding.events import Reply, Source
from edge_wsd.decoding.protocols import Writing
from edge_wsd.engine.lane import Lane, OwnThread, Part
from edge_wsd.engine.prefixes import Prefixes
from edge_wsd.engine.stream import Stream
from edge_wsd.engine.task import SHORT, Task
from edge_wsd.engine.turns import Share, Turns, Waiting
from edge_wsd.errors import BusyError, Cancelled, ClosedError, ContextFullError, QueueFullError
from edge_wsd.llama.context import Context
from edge_wsd.llama.sequence import Sequence

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
        self._costs: Final = costs or Costs()
        self._on_idle: Final = on_idle
        self._sources: Final = {context: source for source, context in contexts.items()}
        self._memories: Final = {}
        for source, context in contexts.items():
            n_bytes = (cache_bytes or {}).get(source, 0)
            most_idle = _MOST_IDLE if n_bytes else max(_MOST_IDLE, parallel)
            self._memories[source] = Prefixes(context, most_idle=most_idle, most_saved_bytes=n_bytes)
        self._turns: Final = Turns(contexts.values())
        self._parallel = parallel
        self._longest_queue = longest_queue
        self._lock = threading.RLock()  # a `Condition` takes it in Python, where Ctrl-C can come right behind that
        self._work = threading.Condition(self._lock)
        self._queue: deque[Task] = deque()
        self._active: list[Task] = []  # the oldest first
        self._preempted: set[Sequence] = set()  # their memory was given to older replies
        self._thread: threading.Thread | None = None
        self._closed = False
        self._process = os.getpid()
        self._enough = CancelFlag()  # somebody waits for the next step: a new reply, one that was cancelled
        self._n_turns = 0
        self._news: queue.SimpleQueue[OwnThread | None] = queue.SimpleQueue()  # a decode is over; None: a new reply
        memories = {context: self._memories[source] for context, source in self._sources.items()}
        own = [OwnThread(*one, self._enough, self._is_over) for one in memories.items()] if overlap else []
        self._threads: Final[list[OwnThread]] = own
        lanes: list[Lane] = [*own] or [Lane(*one, self._enough) for one in memories.items()]
        self._lanes: Final[Mapping[Context, Lane]] = {lane.context: lane for lane in lanes}
        _engines.add(self)

    def submit(
        self,
        write: Callable[[Memories], Writing[Reply]],
        *,
        unwritten: Callable[[], Reply] | None = None,
        on_finish: Callable[[Reply], None] | None = None,
    ) -> Stream:
        """Queue a reply to be written in its turn. `unwritten` as for `Task`, `on_finish` as for `Stream`.

        Raises `QueueFullError`, `ClosedError`, and `ForkedError` in a forked child.
        """
        for memory in self._memories.values():
            memory.context.require_open()
        task = Task(write(self._memories), self._heard_cancel, unwritten)
        stream = Stream(task, on_finish)  # if this call is interrupted below, it is dropped and so cancelled
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
            self._enough.set()
            if self._threads:
                self._news.put(None)
            self._work.notify()
        return stream

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
                waiting = self._waiting()
                if self._threads:
                    self._step_of_each(waiting)
                elif waiting:
                    self._step(waiting)
                self._retire()
        except BaseException as error:  # a bug of ours; but nobody may wait for a thread that is gone
            self._give_up(error)
        if self._on_idle is not None:
            self._on_idle()

    def _admit(self) -> bool:
        """Let the next replies begin. False once there is nothing left to do: then the thread ends."""
        with self._lock:
            if self._thread is not threading.current_thread():
                return False
            while not self._active and not self._queue:
                if self._closed or not self._work.wait(timeout=_IDLE_S):
                    if self._queue:
                        continue
                    for thread in self._threads:
                        thread.end()
                    self._thread = None
                    return False
            self._enough.clear()  # what it was set for is seen below, and in `_end_cancelled`
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
            if task.is_cancelled and not task.is_over and not any(thread.holds(task) for thread in self._threads):
                task.end_early()

    def _waiting(self) -> list[Waiting]:
        """The replies that wait for a decode, the oldest first."""
        waiting = []
        for task in self._active:
            with _on_behalf_of(task):
                if (job := task.job) is not None and job.sequence not in self._preempted:
                    if job.n_unread >= SHORT and not task.alone:
                        self._memories[self._sources[job.context]].catch_up(job.sequence, job.text)
                    waiting.append(Waiting.of(task, job))
        return waiting

    def _retire(self) -> None:
        """Replies that are over make room for others."""
        if any(task.is_over for task in self._active):
            with self._lock:
                self._active = [task for task in self._active if not task.is_over]
            self._preempted.clear()

    # A step

    def _step(self, waiting: list[Waiting]) -> None:
        """One decode and its results. An error ends the replies that caused it, and no others."""
        involved = [one.task for one in waiting]
        try:
            lane = self._lanes[self._turns.next_context(waiting)]
            parts = self._parts(lane.context, self._turns.shares(lane.context, waiting))
            involved = [share.task for share, _ in parts]
            if parts:
                self._read(lane, parts)
        except Exception as error:
            self._find_culprit(involved, error)

    def _parts(self, context: Context, shares: list[Share]) -> list[Part]:
        """The pieces to be read; a reply for which there can be none ends with the reason."""
        parts = []
        for share in shares:
            with _on_behalf_of(share.task):
                piece = share.job.next_piece(share.n_tokens)
                if (reading := share.job.progress(self._sources[context])) is not None:
                    share.task.tell(reading)
                self._n_turns += 1
                share.task.last_turn = self._n_turns
                parts.append((share, piece))
        return parts

    def _read(self, lane: Lane, parts: list[Part]) -> None:
        """The decode, and the rows for whoever waited for them; else it is tried again. Raises what was wrong."""
        try:
            self._turns.went_on(lane.read(parts))
            for time in lane.times:
                self._costs.took(self._sources[lane.context], *time)
        except Cancelled:
            return  # all of these replies were cancelled, or all of the last decode: then only time is lost
        except ContextFullError:
            if self._make_room(lane.memory):
                return
            raise
        for share, _ in parts:
            with _on_behalf_of(share.task):
                if share.job.n_left == 0:
                    share.task.answer(share.job.scores)

    # Steps of both contexts at the same time

    def _step_of_each(self, waiting: list[Waiting]) -> None:
        """Begin a decode in each context that is idle and waited for; then the results of the first that is over."""
        for thread in self._threads:
            here = [one for one in waiting if one.job.context is thread.context]
            if here and not thread.is_busy:
                self._begin(thread, here)
        if any(thread.is_busy for thread in self._threads) and (over := self._news.get()) is not None:
            parts = over.taken()
            try:
                self._read(over, parts)
            except Exception as error:
                self._find_culprit([share.task for share, _ in parts], error)

    def _begin(self, thread: OwnThread, waiting: list[Waiting]) -> None:
        involved = [one.task for one in waiting]
        try:
            n_others = len(self._active) - len(waiting)  # they may soon wait here as well
            parts = self._parts(thread.context, self._turns.shares(thread.context, waiting, n_others=n_others))
            involved = [share.task for share, _ in parts]
            if parts:
                thread.begin(parts)
        except Exception as error:
            self._find_culprit(involved, error)

    def _is_over(self, thread: OwnThread) -> None:
        """A decode is over. Called in its thread."""
        self._enough.set()
        self._news.put(thread)

    # When something goes wrong

    def _make_room(self, memory: Prefixes) -> bool:
        """Idle texts go first, then the text of the youngest reply, which waits until another reply is over."""
        if memory.drop_idle():
            return True
        holders = [sequence for sequence in memory.used if sequence not in self._preempted]
        if len(holders) < 2:
            return False  # no other reply will make room
        holders[-1].clear()
        self._preempted.add(holders[-1])
        return True

    def _find_culprit(self, tasks: list[Task], error: Exception) -> None:
        """Each reply tries once more, alone and from its first row; an error then is its own, and ends it.

        This holds even if it was alone in this decode: a NaN that another text left in memory shows in all that follow.
        """
        for task in tasks:
            if task.alone:
                task.fail(error)
            task.alone = True

    def _give_up(self, error: BaseException) -> None:
        for thread in self._threads:
            thread.end()
        with self._lock:
            self._closed, self._thread = True, None
            tasks = [*self._active, *self._queue]
            self._active, self._queue = [], deque()
        for task in tasks:
            task.give_up(error)

    def _heard_cancel(self) -> None:
        """Called when a reply was cancelled. Safe in any thread and at any moment: takes no lock."""
        self._enough.set()
        for lane in self._lanes.values():
            lane.stop_if_unneeded()


@contextmanager
def _on_behalf_of(task: Task) -> Iterator[None]:
    """An error in the block ends this reply, and no other."""
    try:
        yield
    except Exception as error:
        task.fail(error)


_engines: weakref.WeakSet[Engine] = weakref.WeakSet()


def _close_all() -> None:
    """Before the interpreter exits: a thread that is still decoding would be cut off in the middle."""
    for engine in list(_engines):
        engine.close()


atexit.register(_close_all)
