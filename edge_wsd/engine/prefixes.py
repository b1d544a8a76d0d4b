"""What a context holds: the text of every sequence, in use or idle. A new text reuses the longest beginning in memory.

>>> sequence = prefixes.take(prompt)     # holds as much of the prompt as was in memory anywhere
>>> prefixes.give_back(sequence)         # idle from now on: the next prompt may begin like it

An idle text that has to leave the context is saved in the host's memory, and comes back when a new one begins like it.
llama.cpp allows at most 256 sequences, so looking at each of them is quick.
"""

from __future__ import annotations

import logging

from edge_wsd.decoding.common_prefix import common_prefix
from edge_wsd.engine.saved_texts import SavedText, SavedTexts
from edge_wsd.errors import DecodeError
from edge_wsd.llama.context import Context
from edge_wsd.llama.sequence import Sequence
from edge_wsd.llama.sequence_state import SequenceState

_LOOSE_END = 8
"""An idle text may lose this many tokens: the end of a reply is often split differently in the next prompt."""
_FEWEST_SAVED = 16
"""Tokens: reading fewer takes no noticeable time."""
_RESTORED_PER_READ = 8
"""At least this many tokens can be saved and restored in the time that reading one takes: 20 to 200 with a tiny model,
more with others (`scripts/bench_idle.py`)."""
_HARMLESS = (DecodeError, MemoryError)
"""Where one of these comes, a text is read again, and no more happens."""

_logger = logging.getLogger(__name__)


class Prefixes:
    """All sequences of one context. For one thread at a time."""

    def __init__(self, context: Context, *, most_idle: int, most_saved_bytes: int) -> None:
        """`most_idle` texts that nobody uses stay in the context, and `most_saved_bytes` of others on the host."""
        self.context = context
        self._most_idle = most_idle
        self._idle: list[Sequence] = []  # the least recently used first
        self.used: list[Sequence] = []
        """The oldest first."""
        self.busy: set[Sequence] = set()
        """Those that a decode in another thread reads into."""
        self._to_give_back: list[Sequence] = []  # once it is over
        self._saved = SavedTexts(most_bytes=most_saved_bytes)
        self._n_left = context.n_sequences

    def take(self, text: list[int]) -> Sequence:
        """A sequence that holds as much of the beginning of `text` as is in memory, but never its last token.

        No more sequences may be in use at once than the context has.
        """
        text = text[:-1]
        sequence = self._restored(text)
        if sequence is None:
            source, kept = self._longest(text)
            sequence = self._new() if source is None else self._begun_like(source, kept)
        try:
            sequence.cut(common_prefix(sequence.tokens, text))
        except _HARMLESS as error:  # of a checkpoint that cannot be returned to
            _logger.info("a text is read again: %s", error)
            sequence.clear()
        sequence.fork_point = len(text)
        sequence.n_reused = len(sequence.tokens)
        self.used.append(sequence)
        return sequence

    def catch_up(self, sequence: Sequence, text: list[int]) -> None:
        """Take over what others have read of `text` since `sequence` was taken for it."""
        text, n_held = text[:-1], len(sequence.tokens)
        source, kept = self._longest(text)
        if source is None or source is sequence or source.shared(kept) - n_held < _FEWEST_SAVED:
            return
        try:
            source.copy_to(sequence, kept)
        except _HARMLESS as error:
            _logger.info("a text is read again: %s", error)
            sequence.clear()
        sequence.fork_point = len(text)
        sequence.n_reused += max(0, len(sequence.tokens) - n_held)

    def give_back(self, sequence: Sequence) -> None:
        """The sequence is idle now; its text stays in memory until the place is needed."""
        if sequence in self.busy:
            self._to_give_back.append(sequence)
            return
        self.used.remove(sequence)
        if not self.context.is_open:
            return
        if not sequence.tokens:
            self._close(sequence)
            return
        self._idle.append(sequence)
        while len(self._idle) > self._most_idle:
            self.drop_idle()

    def landed(self) -> None:
        """That decode is over."""
        given_back, self._to_give_back, self.busy = self._to_give_back, [], set()
        for sequence in given_back:
            self.give_back(sequence)

    def drop_idle(self) -> bool:
        """Drop the idle text that has not been used for longest. Returns whether there was one."""
        while self._idle:
            sequence = self._idle.pop(0)
            had_tokens = bool(sequence.tokens)  # or memory was lost
            self._save(sequence)
            self._close(sequence)
            if had_tokens:
                return True
        return False

    def state_of(self, text: list[int]) -> SequenceState | None:
        """What is in memory of the beginning of `text`, to be given to another process; None if that is not worth it.

        Raises `DecodeError`.
        """
        saved, n_saved = self._saved.longest(text)
        source, kept = self._longest(text)
        if max(kept, n_saved) < _FEWEST_SAVED:
            return None
        if saved is not None and n_saved > kept:
            return saved.state
        return source.save() if source is not None and source.can_be_saved else None

    def adopt(self, state: SequenceState) -> None:
        """Take a text in that another process has saved, as an idle one. Raises `DecodeError` if it does not fit."""
        if self._n_left == 0 and not self._idle:
            raise DecodeError("all sequences of the context are in use")
        sequence = self._new()
        try:
            sequence.restore(state)
        except BaseException:
            self._close(sequence)
            raise
        self._idle.append(sequence)

    def stop_saving(self) -> None:
        """From now on, forget texts that leave the context. May be called from any thread."""
        self._saved.stop()

    def close(self) -> None:
        """Forget what is saved, and save nothing more."""
        self._saved.close()

    # Where a new text begins

    def _longest(self, text: list[int]) -> tuple[Sequence | None, int]:
        """The sequence that shares the longest beginning with `text`, and its length; of several, the last used."""
        best, most = None, 0
        for sequence in (*self.used, *self._idle):
            n = common_prefix(sequence.tokens, text)
            kept = sequence.shared(n) if sequence in self.used else sequence.kept(n)
            if kept > 0 and kept >= most:
                best, most = sequence, kept
        return best, most

    def _begun_like(self, source: Sequence, kept: int) -> Sequence:
        """A sequence with the first `kept` tokens of `source`: itself, or a copy if it would lose its own text."""
        loses = not source.shares_beginnings or len(source.tokens) - kept > _LOOSE_END
        has_room = self._n_left > 0 or any(other is not source for other in self._idle)
        if source in self._idle and not (loses and has_room and source.shared(kept) == kept):
            self._idle.remove(source)
            if loses:
                self._save(source)
            return source
        sequence = self._new(keep=source)
        try:
            source.copy_to(sequence, kept)
        except _HARMLESS as error:
            _logger.info("a text is read again: %s", error)
            sequence.clear()
        return sequence

    def _restored(self, text: list[int]) -> Sequence | None:
        """The saved beginning of `text`, in a sequence; None if it gains too little over what is in memory."""
        saved, n_saved = self._saved.longest(text)
        if saved is None or n_saved - self._longest(text)[1] < max(
            _FEWEST_SAVED, len(saved.tokens) // _RESTORED_PER_READ
        ):
            return None
        sequence = self._new()
        if not self._restore(saved, sequence):
            self._close(sequence)
            if not self._may_be_full(len(saved.tokens)):  # it is damaged
                self._saved.remove(saved)
            return None
        if saved.state.fewest == 0 and len(saved.tokens) - n_saved <= _LOOSE_END:
            self._saved.remove(saved)  # it goes on in memory
        else:
            self._saved.use(saved)
        return sequence

    def _restore(self, saved: SavedText, sequence: Sequence) -> bool:
        """Idle texts make room if there is none. A text that cannot be restored is just read again."""
        while True:
            try:
                sequence.restore(saved.state)
                return True
            except _HARMLESS as error:
                if not (self._may_be_full(len(saved.tokens)) and self.drop_idle()):
                    _logger.info("a text is read again: %s", error)
                    return False

    def _may_be_full(self, n: int) -> bool:
        """Whether there may be no room for `n` more tokens; a beginning that several share counts for each of them."""
        return n + sum(len(one.tokens) for one in (*self.used, *self._idle)) > self.context.n_cells

    def _save(self, sequence: Sequence) -> None:
        """Save the text of an idle sequence that is about to lose it, if it may be of use."""
        tokens = sequence.tokens
        if len(tokens) < _FEWEST_SAVED or not self._saved.takes(1) or not sequence.can_be_saved:
            return
        for other in (*self.used, *self._idle):
            if other.shares_beginnings and common_prefix(other.tokens, tokens) == len(tokens):
                return  # it is the beginning of another one
        saved, n_saved = self._saved.longest(tokens)
        if saved is not None and n_saved == len(tokens):
            self._saved.use(saved)
            return
        try:
            if self._saved.takes(sequence.state_bytes):
                self._saved.add(sequence.save())
        except _HARMLESS as error:
            _logger.info("a text is not kept: %s", error)

    # Sequences

    def _new(self, keep: Sequence | None = None) -> Sequence:
        """An empty sequence. If there is none left, the least recently used text goes, but not that of `keep`."""
        if self._n_left == 0:
            victim = next(sequence for sequence in self._idle if sequence is not keep)
            self._idle.remove(victim)
            self._save(victim)
            self._close(victim)
        self._n_left -= 1
        return self.context.sequence()

    def _close(self, sequence: Sequence) -> None:
        sequence.close()
        self._n_left += 1
