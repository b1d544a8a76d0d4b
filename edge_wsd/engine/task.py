"""One reply inside the engine: the generator that writes it, the pass it waits for, and its events so far."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import cast

from edge_wsd.decoding.common_prefix import common_prefix
from edge_wsd.decoding.events import Event, Finished, Reading, Reply, Source
from edge_wsd.decoding.protocols import Pass, Writing
from edge_wsd.engine.event_queue import EventQueue
from edge_wsd.errors import Cancelled, ContextFullError
from edge_wsd.llama.context import Context
from edge_wsd.llama.sampler import Sampler
from edge_wsd.llama.scores import Scores
from edge_wsd.llama.sequence import Going, Piece, Sequence

SHORT = 32
"""Tokens: a text with fewer left to read takes no noticeable time, and is read together with answers."""


class Task(EventQueue):
    """Everything but `cancel` is for the engine's thread alone, and raises nothing: an error ends the reply."""

    def __init__(
        self,
        writing: Writing[Reply],
        on_cancel: Callable[[], None] = lambda: None,
        unwritten: Callable[[], Reply] | None = None,
    ) -> None:
        """`unwritten` makes the reply of a task that is cancelled before it begins."""
        super().__init__()
        self._writing = writing
        self._on_cancel = on_cancel
        self._unwritten = unwritten
        self.job: Job | None = None
        """The pass that it waits for."""
        self.side: Job | None = None
        """What may be computed beside that."""
        self._heard: Callable[[Scores], None] | None = None
        self.is_over = False
        self.alone = False
        """Whether its next pass must not be shared, because a shared one failed."""
        self.last_turn = 0
        """When it last took part in a decode: a number unique to each reply, so that they take turns evenly."""
        self.is_cancelled = False

    @classmethod
    def over(cls, reply: Reply) -> Task:
        """A task whose reply is complete already."""

        def written() -> Writing[Reply]:
            yield from ()
            return reply

        task = cls(written())
        task.begin()
        return task

    def cancel(self) -> None:
        """May be called from any thread, a signal handler or `__del__`: takes no lock."""
        self.is_cancelled = True
        self._on_cancel()

    def begin(self) -> None:
        """Run up to the first pass."""
        self._advance(partial(next, self._writing))

    def answer(self, scores: Scores) -> None:
        """Hand over the rows that it has waited for, and run up to the next pass."""
        self.alone = False
        self._advance(partial(self._writing.send, scores))

    def hear(self, scores: Scores) -> None:
        """What was computed beside its pass. Raises what its listener raises."""
        if self._heard is not None:
            self._heard(scores)
        self.side = None

    @property
    def hears(self) -> bool:
        """Whether it wants to know the rows of what is computed beside its pass before it goes on."""
        return self._heard is not None

    def fail(self, error: BaseException) -> None:
        """Hand over an error instead of rows; there may be more events before the end."""
        self._advance(partial(self._writing.throw, error))

    def end_early(self) -> None:
        """After `cancel`: what is written becomes the reply."""
        self.fail(Cancelled("cancelled"))

    def skip(self) -> None:
        """After `cancel`, if it has not begun."""
        if self._unwritten is None:
            self.give_up(Cancelled("cancelled"))
            return
        try:
            last = Finished(self._unwritten())
        except BaseException as error:
            self.give_up(error)
        else:
            self._writing.close()
            self._end(last)

    def give_up(self, error: BaseException) -> None:
        """End it with an error; nothing more is written."""
        if self.is_over:
            return
        try:
            self._writing.close()  # gives back what it holds
        except BaseException as another:
            another.__context__ = error
            error = another
        self._end(error)

    def _advance(self, go_on: Callable[[], Pass | Event]) -> None:
        self.job = self.side = None
        try:
            while True:
                asked = go_on()
                go_on = partial(next, self._writing)
                if isinstance(asked, Pass):
                    job = Job(asked)
                    if (error := job.too_long) is None:
                        self.job = job
                        if asked.meanwhile is not None:
                            self.side, self._heard = Job(asked.meanwhile.asked), asked.meanwhile.heard
                        return
                    go_on = partial(self._writing.throw, error)
                else:
                    self.tell(asked)
        except StopIteration as end:
            self._end(Finished(end.value))
        except BaseException as error:  # handed to the reader, which raises it
            self.give_up(error)

    def _end(self, last: Finished | BaseException) -> None:
        self.is_over, self.job, self.side = True, None, None
        self.error = last if isinstance(last, BaseException) else None
        try:
            self.tell(last)
        except BaseException as error:  # the event was sent all the same, but the reader was not woken
            self.error = self.error or error


class Job:
    """A pass that is being computed, in one piece or several."""

    def __init__(self, asked: Pass) -> None:
        assert isinstance(asked.sequence, Sequence)
        self.sequence: Sequence = asked.sequence
        self.context: Context = asked.sequence.context
        self._asked = asked
        self._n_text = len(asked.text)
        self._n_rows = len(asked.proposed) + asked.beyond
        self.scores = self._no_scores()
        self._n_to_read = self.n_unread

    def _no_scores(self) -> Scores:
        scores = Scores(self.context)
        scores.sampler = cast("Sampler | None", self._asked.sampler)
        scores.n_likeliest = self._asked.likeliest
        return scores

    @property
    def text(self) -> list[int]:
        """What is read before the proposed tokens; its last token with these."""
        return self._asked.text

    def waits_for(self, other: Job) -> bool:
        """Whether `other` is about to read so much of this text that it is better copied than read twice."""
        if not other.sequence.shares_beginnings:
            return False
        shared = min(common_prefix(self.text, other.text), self._n_text - 1, len(other.text) - 1)
        return shared - len(self.sequence.tokens) >= SHORT and shared > len(other.sequence.tokens)

    @property
    def n_left(self) -> int:
        """Tokens still to be read; memory may have been lost in the meantime, and more may have been read than that."""
        n_held, n_before = len(self.sequence.tokens), self._n_text - 1
        return max(0, n_before + self._n_rows - (min(n_held, n_before) if self._has_lost_rows else n_held))

    def going(self) -> Going | None:
        """How it goes on by itself once all is read, if it wants to."""
        onward = self._asked.onward
        if onward is None or self._asked.sampler is not None or self._asked.likeliest or self.n_left > 0:
            return None
        return Going(self.sequence, self.scores, onward.n, onward.stops, onward.stop_below)

    @property
    def too_long(self) -> ContextFullError | None:
        """The error of a text too long for this context: found before any of it is read or room is made."""
        try:
            self.sequence.require_room(self.n_left)
        except ContextFullError as error:
            return error
        return None

    def next_piece(self, most: int) -> Piece:
        """As many tokens as may be read at once, at most `most`."""
        if self._has_lost_rows:
            self.sequence.cut(self._n_text - 1)
            self.scores = self._no_scores()
        held, n_left = len(self.sequence.tokens), self.n_left
        n = min(n_left, most)
        if n < n_left:  # keep the last rows together: tokens are drawn from those of the last piece
            n = max(1, min(n, n_left - min(self._n_rows, self.context.most_rows)))
        if not self.context.model.can_cut:
            n = self._up_to_checkpoint(held, n)
        first_row = max(0, held - self._n_text + 1)
        targets = [*self._asked.proposed, -1][first_row : max(0, held + n - self._n_text + 1)]
        return Piece(self.sequence, self._tokens(held, held + n), targets)

    def progress(self, model: Source) -> Reading | None:
        """How much of a long text has been read."""
        self._n_to_read = max(self._n_to_read, self.n_unread)  # memory may have been lost
        if self._n_to_read < SHORT or self.n_unread == 0:
            return None
        return Reading(model, self._n_to_read - self.n_unread, self._n_to_read)

    @property
    def n_unread(self) -> int:
        """Tokens of the text that are not in memory, not counting the last one."""
        return max(0, self._n_text - 1 - len(self.sequence.tokens))

    @property
    def _has_lost_rows(self) -> bool:
        """A failed decode may have read tokens whose rows nobody saw, and memory under the rows may have been lost."""
        return max(0, len(self.sequence.tokens) - (self._n_text - 1)) != self.scores.n_rows

    def _up_to_checkpoint(self, held: int, n: int) -> int:
        """For a memory that cannot be cut: tokens up to the next place to return to, where a checkpoint is made."""
        points = [self.sequence.fork_point, self._n_text - 1 if self._asked.proposed else None]
        if held in points:
            self.sequence.checkpoint()
        return min([n, *(point - held for point in points if point is not None and point > held)])

    def _tokens(self, start: int, end: int) -> list[int]:
        n, proposed = self._n_text, self._asked.proposed
        return self._asked.text[start:end] + proposed[max(0, start - n) : max(0, end - n)]
