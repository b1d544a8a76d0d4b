"""What a context holds: the text of every sequence, in use or idle. A new text begins with the longest part there is.

>>> sequence = prefixes.take(prompt)     # holds as much of the prompt as was in memory anywhere
>>> prefixes.give_back(sequence)         # idle from now on: the next prompt may begin like it

llama.cpp numbers at most 256 sequences, so looking at each of them is quick.
"""

from __future__ import annotations

from edge_wsd.decoding.sequence import common_prefix
from edge_wsd.llama.context import Context
from edge_wsd.llama.sequence import Sequence

_LOOSE_END = 8
"""Tokens at the end of an idle text that are no loss: the end of a reply, cut into other tokens in the next prompt."""


class Prefixes:
    """All sequences of one context. Not for several threads at once."""

    def __init__(self, context: Context, *, most_idle: int | None = None) -> None:
        """`most_idle` texts stay that nobody uses; None is as many as there are sequences."""
        self.context = context
        self._most_idle = context.n_sequences if most_idle is None else most_idle
        self._idle: list[Sequence] = []  # the least recently used first
        self.used: list[Sequence] = []
        """The oldest first."""
        self._n_left = context.n_sequences

    def take(self, text: list[int]) -> Sequence:
        """A sequence for `text`, which holds as much of its beginning as there is; the last token is always left out.

        At most as many may be in use at once as the context has.
        """
        source, shared = self._longest(text)
        if source in self._idle and (len(source.tokens) - shared <= _LOOSE_END or not self._can_make_room(source)):
            sequence = source
            self._idle.remove(source)
        else:
            sequence = self._empty(source)
            if source is not None:
                source.copy_to(sequence, shared)
        sequence.cut(shared)
        self.used.append(sequence)
        return sequence

    def give_back(self, sequence: Sequence) -> None:
        """It stays in memory until its place is needed."""
        self.used.remove(sequence)
        if self.context.is_open:
            self._idle.append(sequence)
            while len(self._idle) > self._most_idle:
                self.drop_idle()

    def drop_idle(self) -> bool:
        """Forget what has not been used for longest. Whether there was anything."""
        while self._idle:
            sequence = self._idle.pop(0)
            had_tokens = bool(sequence.tokens)
            sequence.close()
            self._n_left += 1
            if had_tokens:
                return True
        return False

    def _longest(self, text: list[int]) -> tuple[Sequence | None, int]:
        """The sequence that has most of `text`, and how much; the most recently used of several."""
        best, most = None, 0
        for sequence in (*self.used, *self._idle):
            shared = min(common_prefix(sequence.tokens, text), len(text) - 1)
            if sequence in self.used and not self._can_share(sequence, shared):
                continue
            if shared > 0 and shared >= most:
                best, most = sequence, shared
        return best, most

    def _can_share(self, sequence: Sequence, n: int) -> bool:
        return self.context.model.can_cut or n == len(sequence.tokens)

    def _can_make_room(self, source: Sequence) -> bool:
        """Whether there is a sequence beside `source` to copy it to, and this is possible at all."""
        return self.context.model.can_cut and (self._n_left > 0 or any(other is not source for other in self._idle))

    def _empty(self, keep: Sequence | None) -> Sequence:
        """A new sequence; the least recently used one but `keep` goes where there is none left."""
        if self._n_left == 0:
            victim = next(sequence for sequence in self._idle if sequence is not keep)
            self._idle.remove(victim)
            victim.close()
            self._n_left += 1
        self._n_left -= 1
        return self.context.sequence()
