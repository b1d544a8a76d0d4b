"""Takes turns: which context decodes next, and how much of each reply's text or prompt is in that decode.

>>> context = turns.next_context(waiting)
>>> [(share.task, share.n_tokens) for share in turns.shares(context, waiting)]
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from edge_wsd.engine.task import SHORT, Job, Task
from edge_wsd.llama.context import Context

PIECE = 128
"""Tokens of prompts that are read at once while another reply waits; without one, as many as are computed at once."""
MOST_AHEAD = 16
"""Steps that the drafter may make in a row while other replies wait for the base."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A reply and what it waits for, as of the beginning of a step."""

    task: Task
    job: Job
    n_left: int
    """Tokens still to be read."""
    is_short: bool
    """Whether it reads an answer, or a text so short that reading it takes no longer."""

    @classmethod
    def of(cls, task: Task, job: Job) -> Waiting:
        return cls(task, job, job.n_left, job.n_unread < SHORT)


@dataclass(frozen=True, slots=True)
class Share:
    """How many of the tokens that a reply waits for may be in a decode."""

    task: Task
    job: Job
    n_tokens: int


class Turns:
    """Asked once for each step. Waiting replies are listed with the oldest first."""

    def __init__(self, contexts: Iterable[Context]) -> None:
        """The first of two `contexts` is the drafter's, whose passes are cheap."""
        self._contexts: Final = list(contexts)
        self._in_prompt: Context | None = None  # had the last step, and has more of a prompt to read
        self._n_ahead = 0  # steps of the first context while others were waiting for the second

    def next_context(self, waiting: list[Waiting]) -> Context:
        """The drafter first: its passes are cheap, and more replies then share the base's. But not for ever."""
        waited_for = {one.job.context for one in waiting}
        contexts = [context for context in self._contexts if context in waited_for]
        if len(contexts) == 1:
            self._n_ahead = 0
            return contexts[0]
        first, second = contexts
        if first is self._in_prompt or self._n_ahead >= MOST_AHEAD:
            self._n_ahead = 0
            return second
        self._n_ahead += 1
        return first

    def went_on(self, n_steps: int) -> None:
        """The last step was so many more."""
        if self._n_ahead:
            self._n_ahead += n_steps

    def shares(self, context: Context, waiting: list[Waiting], *, n_others: int = 0) -> list[Share]:
        """The shares of one decode in `context`: answers first, then prompts, the shortest first.

        `n_others` more replies are being written, but wait for nothing now.
        """
        here = [one for one in waiting if one.job.context is context]
        short = sorted((one for one in here if _goes_with_answers(one, context)), key=_last_turn)
        long = _read_once([one for one in here if not _goes_with_answers(one, context)])
        alone = len(waiting) + n_others == 1 and not waiting[0].is_short
        piece = min(max(PIECE, context.micro_batch) if alone else PIECE, context.most_rows)
        suspects = [one for one in here if one.task.alone]
        if suspects or not context.can_share:
            # One at a time, up to its rows: what one of them leaves in memory must not be blamed on the next.
            prompts = [*long[:1], *sorted(long, key=_n_left)[:1]]
            one = suspects[0] if suspects else min([*short, *prompts], key=_last_turn)
            chosen = [(one, min(one.n_left, piece if one in long else context.most_rows))]
        else:
            chosen = _together(short, long, context.batch_size, piece)
        self._in_prompt = context if any(one.n_left > n_tokens for one, n_tokens in chosen) else None
        return [Share(one.task, one.job, n_tokens) for one, n_tokens in chosen]


def _read_once(long: list[Waiting]) -> list[Waiting]:
    """Of prompts that begin alike only the oldest: the others wait, and copy what they share."""
    chosen: list[Waiting] = []
    for one in long:
        if one.task.alone or not any(one.job.waits_for(other.job) for other in chosen):
            chosen.append(one)
    return chosen


def _together(short: list[Waiting], long: list[Waiting], left: int, piece: int) -> list[tuple[Waiting, int]]:
    """As many as there is room for. A quarter of a decode of `left` tokens is always kept for prompts, if any."""
    reserved = left // 4 if long else 0
    chosen: list[tuple[Waiting, int]] = []
    for one in short:
        if one.n_left <= left - reserved or not chosen:
            chosen.append((one, one.n_left))
            left -= one.n_left
    left = min(left, piece)
    kept = left // 4  # for the oldest prompt, which shorter ones could keep waiting for ever
    for one in sorted(long, key=_n_left):
        kept = 0 if one is long[0] else kept
        if (n_tokens := min(one.n_left, left - kept)) > 0:
            chosen.append((one, n_tokens))
            left -= n_tokens
    return chosen


def _goes_with_answers(one: Waiting, context: Context) -> bool:
    return one.is_short and one.n_left <= context.batch_size


def _last_turn(one: Waiting) -> int:
    return one.task.last_turn


def _n_left(one: Waiting) -> int:
    return one.n_left
