"""The engine: one thread that owns both contexts, and writes all replies that were asked for.

Each step takes one context and makes one decode of what all replies wait for there: answers first, then pieces of
prompts. What a reply is and what its passes are for is none of its business.

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
from typing import Final

from edge_wsd._native import CancelFlag
from edge_wsd.decoding.events import Reply, Source
from edge_wsd.decoding.sequence import Writing
from edge_wsd.engine.prefixes import Prefixes
from edge_wsd.engine.stream import Stream
from edge_wsd.engine.task import SHORT, Job, Task
from edge_wsd.errors import Cancelled, ClosedError, ContextFullError, QueueFullError
from edge_wsd.llama.context import Context
from edge_wsd.llama.sequence import Piece, Sequence

Memories = Mapping[Source, Prefixes]
"""What each model's context holds, for a reply to take its sequences from."""

LONGEST_QUEUE = 256
_PIECE = 128
"""Tokens of a prompt that are read at once while others write."""
_MOST_AHEAD = 16
"""Steps that the drafter makes while others wait for the base."""
_MOST_IDLE = 2
"""Idle texts in each memory: three conversations in turns need no more. Attention goes over their cells as well, and 14
of 500 tokens each made a tiny model nine times slower."""
_IDLE_S = 1.0
"""An engine without work for so long has no thread."""


class Engine:
    """Close it before its contexts."""

    def __init__(
        self,
        contexts: Mapping[Source, Context],
        *,
        parallel: int = 1,
        longest_queue: int = LONGEST_QUEUE,
    ) -> None:
        """`parallel` replies are written at once, `longest_queue` more may wait."""
        self._sources: Final = {context: source for source, context in contexts.items()}
        most_idle = max(_MOST_IDLE, parallel)
        self._memories: Final = {source: Prefixes(context, most_idle=most_idle) for source, context in contexts.items()}
        self._parallel = parallel
        self._longest_queue = longest_queue
        self._lock = threading.Condition()
        self._waiting: deque[Task] = deque()
        self._active: list[Task] = []  # the oldest first
        self._in_decode: list[Task] = []
        self._without_room: set[Sequence] = set()  # whose memory was given to older replies
        self._thread: threading.Thread | None = None
        self._closed = False
        self._process = os.getpid()
        self._flag = CancelFlag()
        self._in_prompt: Context | None = None  # had the last step, and has a prompt to read on
        self._n_ahead = 0  # steps of the drafter since others have waited for the base
        self._n_steps = 0
        for context in contexts.values():
            context.watch(self._flag)
        _engines.add(self)

    def submit(
        self,
        write: Callable[[Memories], Writing[Reply]],
        *,
        unwritten: Callable[[], Reply] | None = None,
        on_finish: Callable[[Reply], None] | None = None,
    ) -> Stream:
        """Have a reply written, as soon as it is its turn. `unwritten` as for `Task`, `on_finish` as for `Stream`.

        Raises `QueueFullError`, `ClosedError`, and `ForkedError` in a forked child.
        """
        for memory in self._memories.values():
            memory.context.require_open()
        task = Task(write(self._memories), self._heard_cancel, unwritten)
        stream = Stream(task, on_finish)  # dropped by whoever is interrupted below, and so cancelled
        with self._lock:
            if self._closed:
                raise ClosedError("this pair is closed; load it again")
            n_waiting = len(self._waiting) - max(0, self._parallel - len(self._active))
            if n_waiting >= self._longest_queue:
                raise QueueFullError(f"{n_waiting} replies are waiting already, the most that may; try again later")
            if self._thread is None:
                self._begin_thread()
            self._waiting.append(task)
            self._lock.notify()
        return stream

    def close(self) -> None:
        """Cancel all replies, and return when the last has ended. Closing twice does nothing."""
        if self._process != os.getpid():
            return
        with self._lock:
            self._closed = True
            for task in (*self._active, *self._waiting):
                task.cancel()
            self._lock.notify()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            while thread.is_alive():  # in pieces, so that a signal is heard
                thread.join(timeout=0.25)

    # The thread

    def _begin_thread(self) -> None:
        self._thread = threading.Thread(target=self._run, name="edge-wsd engine", daemon=True)
        try:
            self._thread.start()
        except BaseException:  # there can be no more threads, or Ctrl-C: should it have begun, it ends at once
            self._thread = None
            raise

    def _run(self) -> None:
        try:
            while self._admit():
                self._end_cancelled()
                if (context := self._next_context()) is not None:
                    self._step(context)
                self._retire()
        except BaseException as error:  # a fault of ours; but nobody may wait for a thread that is gone
            self._give_up(error)

    def _admit(self) -> bool:
        """Let the next ones begin. False once there is nothing to do any more: then the thread is over."""
        with self._lock:
            if self._thread is not threading.current_thread():
                return False
            while not self._active and not self._waiting:
                if self._closed or not self._lock.wait(timeout=_IDLE_S):
                    if self._waiting:
                        continue
                    self._thread = None
                    return False
            skipped = [task for task in self._waiting if task.is_cancelled]
            self._waiting = deque(task for task in self._waiting if not task.is_cancelled)
            begun = []
            while self._waiting and len(self._active) < self._parallel:
                begun.append(self._waiting.popleft())
                self._active.append(begun[-1])
        for task in skipped:
            task.skip()
        for task in begun:
            task.begin()
        return True

    def _end_cancelled(self) -> None:
        for task in self._active:
            if task.is_cancelled and not task.is_over:
                task.end_early()

    def _retire(self) -> None:
        """Those that are over make room."""
        if any(task.is_over for task in self._active):
            with self._lock:
                self._active = [task for task in self._active if not task.is_over]
            self._without_room.clear()

    def _jobs(self, context: Context | None = None) -> list[tuple[Task, Job]]:
        """What is waited for, of a context or of both."""
        return [
            (task, task.job)
            for task in self._active
            if task.job is not None
            and task.job.sequence not in self._without_room
            and context in (None, task.job.context)
        ]

    def _next_context(self) -> Context | None:
        """The drafter first: its passes are cheap, and more replies share the base's then. But not for ever."""
        waited_for = {job.context for _, job in self._jobs()}
        contexts = [memory.context for memory in self._memories.values() if memory.context in waited_for]
        if len(contexts) < 2:
            self._n_ahead = 0
            return contexts[0] if contexts else None
        first, second = contexts
        if first is self._in_prompt or self._n_ahead == _MOST_AHEAD:
            self._n_ahead = 0
            return second
        self._n_ahead += 1
        return first

    def _step(self, context: Context) -> None:
        """One decode, and what comes of it."""
        chosen = self._choose(context)
        self._in_prompt = context if any(job.n_left > len(piece.tokens) for _, job, piece in chosen) else None
        self._n_steps += 1
        for task, job, _ in chosen:
            task.last_step = self._n_steps
            if (reading := job.progress(self._sources[context])) is not None:
                task.tell(reading)
        self._flag.clear()
        self._in_decode = [task for task, _, _ in chosen]
        self._heard_cancel()  # by those that were cancelled before they were in it
        try:
            context.run([piece for _, _, piece in chosen], [job.scores for _, job, _ in chosen])
        except Cancelled:
            return  # all of them were, or all of the decode before: then they have lost nothing but time
        except ContextFullError as error:
            self._make_room(self._memories[self._sources[context]], chosen[0][0], error)
            return
        except Exception as error:
            self._find_culprit([task for task, _, _ in chosen], error)
            return
        finally:
            self._in_decode = []
        for task, job, _ in chosen:
            if job.n_left == 0:
                task.alone = False
                task.answer(job.scores)

    def _choose(self, context: Context) -> list[tuple[Task, Job, Piece]]:
        """Answers first, then a piece of the oldest prompts, for which a quarter of a batch is kept in any case."""
        jobs, most = self._jobs(context), context.batch_size
        short = [(task, job) for task, job in jobs if job.n_unread < SHORT and job.n_left <= most]
        short.sort(key=_last_step)
        long = [one for one in jobs if one not in short]
        somebody_writes = any(job.n_unread < SHORT for _, job in self._jobs())
        piece_size = min(_PIECE, context.most_rows) if somebody_writes else context.most_rows
        if (alone := [one for one in jobs if one[0].alone]) or not context.can_share:
            # One after the other, to its rows: what one of them leaves in memory must not be blamed on the next.
            task, job = alone[0] if alone else min([*short, *long[:1]], key=_last_step)
            return [(task, job, job.next_piece(piece_size))]
        reserved = most // 4 if long else 0
        chosen: list[tuple[Task, Job, Piece]] = []
        for task, job in short:
            if job.n_left <= most - reserved or not chosen:
                chosen.append((task, job, job.next_piece(most)))
                most -= job.n_left
        most = min(most, piece_size)
        for task, job in long:
            if most > 0:
                piece = job.next_piece(most)
                chosen.append((task, job, piece))
                most -= len(piece.tokens)
        return chosen

    # When something goes wrong

    def _make_room(self, memory: Prefixes, task: Task, error: ContextFullError) -> None:
        """Idle texts go first, then that of the youngest reply, which waits until another is over."""
        if memory.drop_idle():
            return
        holders = [sequence for sequence in memory.used if sequence not in self._without_room]
        if len(holders) == 1:
            task.fail(error)  # there is no room to hope for
        else:
            holders[-1].clear()
            self._without_room.add(holders[-1])

    def _find_culprit(self, tasks: list[Task], error: Exception) -> None:
        """Each tries once more, from its first row and by itself; then its error is its own, and its end.

        Also where it was by itself in this decode: a NaN that another text left in memory shows in all that follow.
        """
        for task in tasks:
            if task.alone:
                task.fail(error)
            task.alone = True

    def _give_up(self, error: BaseException) -> None:
        with self._lock:
            self._closed, self._thread = True, None
            tasks = [*self._active, *self._waiting]
            self._active, self._waiting = [], deque()
        for task in tasks:
            task.give_up(error)

    def _heard_cancel(self) -> None:
        """A decode is stopped if nobody needs it any more. For every thread and moment: no lock is taken."""
        tasks = self._in_decode
        if tasks and all(task.is_cancelled for task in tasks):
            self._flag.set()


def _last_step(one: tuple[Task, Job]) -> int:
    return one[0].last_step


_engines: weakref.WeakSet[Engine] = weakref.WeakSet()


def _close_all() -> None:
    """Before the interpreter goes: a thread that still decodes would be cut off in the middle."""
    for engine in list(_engines):
        engine.close()


atexit.register(_close_all)
