"""Steps of both contexts at the same time, where they compute on different devices.

Each context decodes in a thread of its own. The engine's thread begins a decode wherever one is idle, and hands out the
results of the first that is over. A reply that waits for one model may have something computed by the other meanwhile
(`Pass.meanwhile`): that comes beside what replies wait for, and nobody is told if it fails.
"""

from __future__ import annotations

import logging
import queue
from collections.abc import Mapping

from edge_wsd.decoding.costs import Costs
from edge_wsd.decoding.events import Source
from edge_wsd.engine.lane import Lane, OwnThread, Part
from edge_wsd.engine.prefixes import Prefixes
from edge_wsd.engine.steps import Steps
from edge_wsd.engine.task import SHORT, Job, Task
from edge_wsd.engine.turns import Share, Waiting

_logger = logging.getLogger(__name__)


class OverlappedSteps(Steps):
    """As `Steps`; there are threads only from the first decode until `rest`."""

    def __init__(self, memories: Mapping[Source, Prefixes], costs: Costs) -> None:
        self._threads: list[OwnThread] = []
        self._news: queue.SimpleQueue[OwnThread | None] = (
            queue.SimpleQueue()
        )  # a decode is over; None: somebody hurries
        self._answered: list[Share] = []  # they have their rows, but what is computed beside is not over
        super().__init__(memories, costs, self._own_thread)

    def _own_thread(self, memory: Prefixes) -> Lane:
        self._threads.append(OwnThread(memory, self._heard_end))
        return self._threads[-1]

    def hurry(self) -> None:
        super().hurry()
        self._news.put(None)

    def take(self, active: list[Task]) -> None:
        """Begin a decode in each context that is idle and waited for; then the results of the first that is over."""
        for thread in self._threads:
            if self._is_free(thread):
                waiting = [one for one in self._waiting(active) if one.job.context is thread.context]
                if waiting := [*waiting, *self._beside(active, thread)]:
                    self._begin(thread, waiting, len(active))
        if any(thread.is_busy for thread in self._threads) and (over := self._news.get()) is not None:
            self._end(over)

    def holds(self, task: Task) -> bool:
        return any(thread.holds(task) for thread in self._threads)

    def rest(self) -> None:
        for thread in self._threads:
            thread.end()

    def _is_free(self, lane: Lane) -> bool:
        """Tokens are drawn from rows that the next decode would overwrite."""
        lent = (share.job for share in self._answered if share.job.scores.sampler is not None)
        return not any(thread is lane and thread.is_busy for thread in self._threads) and not any(
            job.context is lane.context for job in lent
        )

    def _beside(self, active: list[Task], thread: OwnThread) -> list[Waiting]:
        """What may be computed there beside the passes that replies wait for."""
        found = []
        for task in active:
            job = task.side
            if job is None or job.context is not thread.context or task.alone or job.sequence in self._preempted:
                continue
            with self._on_behalf_of(task, job):
                if job.n_unread >= SHORT:
                    thread.memory.catch_up(job.sequence, job.text)
                if job.n_left == 0 or job.too_long is not None:
                    task.side = None
                else:
                    found.append(Waiting.of(task, job))
        return found

    def _begin(self, thread: OwnThread, waiting: list[Waiting], n_active: int) -> None:
        awaited = [one.task for one in waiting if one.job is one.task.job]
        try:
            n_others = n_active - len(waiting)  # they may soon wait here as well
            parts = self._parts(thread.context, self._turns.shares(thread.context, waiting, n_others=n_others))
            if parts:
                thread.begin(parts)
        except Exception as error:
            self._find_culprit(awaited, error)

    def _end(self, thread: OwnThread) -> None:
        """The results of a decode."""
        parts = thread.taken()
        awaited = [share for share, _ in parts if share.job is share.task.job]
        beside = [share for share, _ in parts if share.job is share.task.side]
        try:
            was_read = self._read(thread, parts) if len(awaited) == len(parts) else self._read_beside(thread, parts)
        except Exception as error:
            was_read = False
            self._find_culprit([share.task for share in awaited], error)
        for share in beside:
            with self._on_behalf_of(share.task, share.job):
                if not was_read:
                    share.task.side = None
                elif share.job.n_left == 0:
                    share.task.hear(share.job.scores)
        for share in awaited if was_read else []:
            with self._on_behalf_of(share.task, share.job):
                if share.job.n_left == 0:
                    share.task.job = None
                    self._answered.append(share)
        self._let_go()

    def _read_beside(self, thread: OwnThread, parts: list[Part]) -> bool:
        """As `_read`, where some of it is not waited for: no room is made for that, and no error of it is told."""
        try:
            thread.read(parts)
            self._measure(thread)
            return True
        except Exception as error:
            _logger.info("what was computed beside other passes is dropped: %s", error)
            return False

    def _let_go(self) -> None:
        """Replies go on that have their rows, once nothing is computed beside them any more that they want to know."""
        answered, self._answered = self._answered, []
        for share in answered:
            side = share.task.side
            if side is not None and share.task.hears and any(thread.computes(side) for thread in self._threads):
                self._answered.append(share)
            else:
                with self._on_behalf_of(share.task, share.job):  # it has its rows, whatever became of its text
                    share.task.answer(share.job.scores)

    def _fail(self, task: Task, job: Job, error: Exception) -> None:
        if job is task.side:
            task.side = None
            _logger.info("what was to be computed beside a pass is dropped: %s", error)
        else:
            super()._fail(task, job, error)

    def _heard_end(self, thread: OwnThread) -> None:
        """A decode is over; those who wait for its results may soon need the other context. Called in its thread."""
        for lane in self._threads:
            lane.hurry()
        self._news.put(thread)
