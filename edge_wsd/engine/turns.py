"""Whose turn it is: which context decodes next, and how much of whose text and prompt is in that decode.

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
"""Tokens of a prompt that are read at once while others write."""
MOST_AHEAD = 16
"""Steps that the drafter makes while others wait for the base."""

Waiting = tuple[Task, Job]
"""A reply and what it waits for."""


@dataclass(frozen=True, slots=True)
class Share:
    """How much of what a reply waits for may be in a decode."""

    task: Task
    job: Job
    n_tokens: int


class Turns:
    """Asked once for each step. Replies are told apart by age: whoever waits is listed with the oldest first."""

    def __init__(self, contexts: Iterable[Context]) -> None:
        """The first of two `contexts` has the cheap passes: the drafter's."""
        self._contexts: Final = list(contexts)
        self._in_prompt: Context | None = None  # had the last step, and has a prompt to read on
        self._n_ahead = 0  # steps of the first since others have waited for the second

    def next_context(self, waiting: list[Waiting]) -> Context:
        """The drafter first: its passes are cheap, and more replies share the base's then. But not for ever."""
        waited_for = {job.context for _, job in waiting}
        contexts = [context for context in self._contexts if context in waited_for]
        if len(contexts) == 1:
            self._n_ahead = 0
            return contexts[0]
        first, second = contexts
        if first is self._in_prompt or self._n_ahead == MOST_AHEAD:
            self._n_ahead = 0
            return second
        self._n_ahead += 1
        return first

    def shares(self, context: Context, waiting: list[Waiting]) -> list[Share]:
        """Of one decode in `context`: answers first, then a piece of the oldest prompts."""
        here = [one for one in waiting if one[1].context is context]
        somebody_writes = any(_is_short(job) for _, job in waiting)
        piece = min(PIECE, context.most_rows) if somebody_writes else context.most_rows
        if not context.can_share or any(task.alone for task, _ in here):
            shares = [_alone(context, here, piece)]
        else:
            shares = _together(context, here, piece)
        reads_on = any(share.job.n_left > share.n_tokens for share in shares)
        self._in_prompt = context if reads_on else None
        return shares


def _is_short(job: Job) -> bool:
    """Whether it reads an answer, or so little that it takes no longer."""
    return job.n_unread < SHORT


def _split(context: Context, here: list[Waiting]) -> tuple[list[Waiting], list[Waiting]]:
    """Answers, those first that have waited for longest, and prompts, the oldest first."""
    short = [one for one in here if _is_short(one[1]) and one[1].n_left <= context.batch_size]
    long = [one for one in here if one not in short]
    return sorted(short, key=_last_turn), long


def _alone(context: Context, here: list[Waiting], piece: int) -> Share:
    """One after the other, to its rows: what one of them leaves in memory must not be blamed on the next."""
    short, long = _split(context, here)
    suspects = [one for one in here if one[0].alone]
    task, job = suspects[0] if suspects else min([*short, *long[:1]], key=_last_turn)
    return Share(task, job, min(job.n_left, piece))


def _together(context: Context, here: list[Waiting], piece: int) -> list[Share]:
    """Of as many as there is room for. A quarter of the batch is kept for prompts in any case."""
    short, long = _split(context, here)
    left = context.batch_size
    reserved = left // 4 if long else 0
    shares: list[Share] = []
    for task, job in short:
        if job.n_left <= left - reserved or not shares:
            shares.append(Share(task, job, job.n_left))
            left -= job.n_left
    left = min(left, piece)
    for task, job in long:
        if left > 0:
            shares.append(Share(task, job, min(job.n_left, left)))
            left -= shares[-1].n_tokens
    return shares


def _last_turn(one: Waiting) -> int:
    return one[0].last_turn
