"""A step of the engine: one decode in one context, of what all replies wait for there, and its results.

`turns.py` decides whose turn it is.

>>> steps = Steps({"drafter": prefixes, "base": other_prefixes}, costs)
>>> steps.take(replies)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from edge_wsd.decoding.costs import Costs
from edge_wsd.decoding.events import Source
from edge_wsd.engine.lane import Lane, Part
from edge_wsd.engine.prefixes import Prefixes
from edge_wsd.engine.task import SHORT, Job, Task
from edge_wsd.engine.turns import Share, Turns, Waiting
from edge_wsd.errors import Cancelled, ContextFullError
from edge_wsd.llama.context import Context
from edge_wsd.llama.sequence import Sequence


class Steps:
    """Takes one step after the other. For the engine's thread, but for `hurry`."""

    def __init__(
        self, memories: Mapping[Source, Prefixes], costs: Costs, lane: Callable[[Prefixes], Lane] = Lane
    ) -> None:
        """`costs` is told what passes take. `lane` makes that of each context; the first of two is the drafter's."""
        self._costs: Final = costs
        self._sources: Final = {memory.context: source for source, memory in memories.items()}
        self._turns: Final = Turns(self._sources)
        self._lanes: Final = {memory.context: lane(memory) for memory in memories.values()}
        self._preempted: set[Sequence] = set()  # their memory was given to older replies
        self._n_turns = 0

    def hurry(self) -> None:
        """Somebody waits for the next step: a new reply, one that was cancelled, whose decode is stopped if nobody else
        needs it. Safe in any thread and at any moment: takes no lock.
        """
        for lane in self._lanes.values():
            lane.hurry()

    def take_time(self) -> None:
        """Whoever hurried before this call has been heard."""
        for lane in self._lanes.values():
            lane.take_time()

    def take(self, active: list[Task]) -> None:
        """The next decode for these replies, the oldest first, and its results: for those that had to wait for it."""
        if waiting := self._waiting(active):
            involved = [one.task for one in waiting]
            try:
                lane = self._lanes[self._turns.next_context(waiting)]
                parts = self._parts(lane.context, self._turns.shares(lane.context, waiting))
                involved = [share.task for share, _ in parts]
                if parts and self._read(lane, parts):
                    for share, _ in parts:
                        self._answer(share)
            except Exception as error:
                self._find_culprit(involved, error)

    def holds(self, task: Task) -> bool:
        """Whether something is being computed for the reply, which may not end as long."""
        return False

    def made_room(self) -> None:
        """Replies have ended: those may go on that lost their memory."""
        self._preempted.clear()

    def rest(self) -> None:
        """There will be no step for a while."""

    def _waiting(self, active: list[Task]) -> list[Waiting]:
        """The replies that wait for a decode which can be made now, the oldest first."""
        waiting = []
        for task in active:
            if (job := task.job) is not None and job.sequence not in self._preempted:
                with self._on_behalf_of(task, job):
                    lane = self._lanes[job.context]
                    if not self._is_free(lane):
                        continue
                    if job.n_unread >= SHORT and not task.alone:
                        lane.memory.catch_up(job.sequence, job.text)
                    waiting.append(Waiting.of(task, job))
        return waiting

    def _is_free(self, lane: Lane) -> bool:
        """Whether a decode can begin there now."""
        return True

    def _parts(self, context: Context, shares: list[Share]) -> list[Part]:
        """The pieces to be read; a reply for which there can be none ends with the reason."""
        parts = []
        for share in shares:
            with self._on_behalf_of(share.task, share.job):
                piece = share.job.next_piece(share.n_tokens)
                reading = share.job.progress(self._sources[context])
                if reading is not None and share.job is share.task.job:
                    share.task.tell(reading)
                self._n_turns += 1
                share.task.last_turn = self._n_turns
                parts.append((share, piece))
        return parts

    def _read(self, lane: Lane, parts: list[Part]) -> bool:
        """Whether the pieces were read. If not, they can be tried again. Raises what was wrong with them."""
        try:
            self._turns.went_on(lane.read(parts))
            self._measure(lane)
            return True
        except Cancelled:
            return False  # all of these replies were cancelled, or all of the last decode: then only time is lost
        except ContextFullError:
            if self._make_room(lane.memory):
                return False
            raise

    def _measure(self, lane: Lane) -> None:
        for time in lane.times:
            self._costs.took(self._sources[lane.context], *time)

    def _answer(self, share: Share) -> None:
        """A reply goes on once all that it waits for was read."""
        with self._on_behalf_of(share.task, share.job):
            if share.job.n_left == 0:
                share.task.answer(share.job.scores)

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

    @contextmanager
    def _on_behalf_of(self, task: Task, job: Job) -> Iterator[None]:
        """An error in the block ends this reply, and no other."""
        try:
            yield
        except Exception as error:
            self._fail(task, job, error)

    def _fail(self, task: Task, job: Job, error: Exception) -> None:
        """The job of the reply cannot be computed."""
        task.fail(error)
