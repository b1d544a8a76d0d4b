"""One context at work: the decode that is under way there, for whom, and how it is stopped.

>>> lane.read(parts)        # a decode, here and now

Where two contexts compute at the same time, each does so in a thread of its own:

>>> lane.begin(parts)       # calls `tell` once the decode is over
>>> lane.read(lane.taken())
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Final

from edge_wsd._native import CancelFlag
from edge_wsd.decoding.costs import PassTime
from edge_wsd.engine.prefixes import Prefixes
from edge_wsd.engine.task import Job, Task
from edge_wsd.engine.turns import Share
from edge_wsd.llama.sequence import Piece

Part = tuple[Share, Piece]
"""What a decode reads for one reply."""


class Lane:
    """Decodes of one context, one after the other. For the engine's thread, but for `hurry`."""

    def __init__(self, memory: Prefixes) -> None:
        """`memory` is that of the context."""
        self.context: Final = memory.context
        self.memory: Final = memory
        self._flag: Final = CancelFlag()
        self._enough: Final = CancelFlag()
        self._in_decode: list[Task] = []
        self.times: list[PassTime] = []
        """What the passes of the last decode took."""
        self._is_behind = False
        """Whether a pass may still be computed for which nobody has waited: only rows are waited for."""
        self.context.watch(self._flag)

    def hurry(self) -> None:
        """End steps that go on by themselves, and stop a decode that nobody needs any more.

        Safe in any thread and at any moment: takes no lock.
        """
        self._enough.set()
        self._stop_if_unneeded()

    def take_time(self) -> None:
        """Steps may go on by themselves again."""
        self._enough.clear()

    def read(self, parts: list[Part]) -> int:
        """Read the pieces. If all of these replies go on by themselves, they do so together until the first is done;
        returns how many steps that were. Raises as `Context.run` does.
        """
        self._flag.clear()
        self._in_decode = [share.task for share, _ in parts]
        self._stop_if_unneeded()  # some may have been cancelled before they were part of this decode
        try:
            pieces = [piece for _, piece in parts]
            was_behind, self._is_behind = self._is_behind, self.context.model.is_asynchronous
            began = time.perf_counter()
            self.context.run(pieces, [share.job.scores for share, _ in parts])
            read = time.perf_counter()
            n_tokens, n_rows = sum(len(one.tokens) for one in pieces), sum(len(one.targets) for one in pieces)
            self._is_behind = self._is_behind and n_rows == 0
            is_known = not (was_behind or self._is_behind)
            self.times = [PassTime(n_tokens, n_rows, len(parts), read - began if is_known else None)]
            going = [one for share, _ in parts if (one := share.job.going()) is not None]
            n_steps = self.context.go_on(going, self._enough) if len(going) == len(parts) else 0
            if n_steps:
                step_s = (time.perf_counter() - read) / n_steps
                self.times.append(PassTime(len(parts), len(parts), len(parts), step_s))
            return n_steps
        finally:
            self._in_decode = []

    def _stop_if_unneeded(self) -> None:
        """Stop a decode of which all replies were cancelled."""
        tasks = self._in_decode
        if tasks and all(task.is_cancelled for task in tasks):
            self._flag.set()


class OwnThread(Lane):
    """A lane whose decodes run in a thread of its own. What is begun must be taken before more is begun."""

    def __init__(self, memory: Prefixes, tell: Callable[[OwnThread], object]) -> None:
        """`tell` is called in that thread when a decode is over."""
        super().__init__(memory)
        self.context.lock_alone()
        self._tell = tell
        self._begun: list[Part] = []
        self._awaited: list[Share] = []  # those of them that are not computed beside what their reply waits for
        self._error: BaseException | None = None
        self._n_steps = 0
        self._todo: queue.SimpleQueue[list[Part] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a decode was begun whose end nobody has taken yet."""
        return bool(self._begun)

    def holds(self, task: Task) -> bool:
        """Whether the reply is part of that decode."""
        return any(share.task is task for share, _ in self._begun)

    def take_time(self) -> None:
        """As of any lane, but not before whoever hurried during a decode has got their turn."""
        if not self.is_busy:
            super().take_time()

    def computes(self, job: Job) -> bool:
        """Whether the job is part of that decode."""
        return any(share.job is job for share, _ in self._begun)

    def begin(self, parts: list[Part]) -> None:
        """Have the pieces read. Until they are taken, their sequences are not to be touched; replies whose passes they
        are wait for nothing else.

        Raises RuntimeError if the machine has no more threads.
        """
        if self._thread is None:
            self._thread = self._begin_thread()
        self._awaited = [share for share, _ in parts if share.job is share.task.job]
        for share in self._awaited:
            share.task.job = None
        self.memory.busy = {share.job.sequence for share, _ in parts}
        self._begun = parts
        self._todo.put(parts)

    def taken(self) -> list[Part]:
        """What was begun, after `tell` has been called: the replies wait for their passes again."""
        parts, self._begun = self._begun, []
        for share in self._awaited:
            share.task.job = share.job
        self.memory.landed()
        return parts

    def read(self, parts: list[Part]) -> int:
        """Says how the decode that read them has ended: as it does for a lane without a thread."""
        error, self._error = self._error, None
        if error is not None:
            raise error
        return self._n_steps

    def end(self) -> None:
        """Stop the decode that is under way, and end the thread; another begins with the next decode."""
        thread, self._thread = self._thread, None
        if thread is not None:
            if self.is_busy:
                self._flag.set()
            self._todo.put(None)
            thread.join()
            self.taken()

    def _begin_thread(self) -> threading.Thread:
        thread = threading.Thread(target=self._run, name="edge-wsd decode", daemon=True)
        thread.start()
        return thread

    def _run(self) -> None:
        while (parts := self._todo.get()) is not None:
            self._n_steps = 0
            try:
                self._n_steps = super().read(parts)
            except BaseException as error:  # raised in the engine's thread
                self._error = error
            self._tell(self)
