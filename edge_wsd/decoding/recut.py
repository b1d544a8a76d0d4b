"""A text that grows, in the tokens of a vocabulary: cut anew only from where later text can no longer change it."""

from __future__ import annotations

import codecs
from bisect import bisect_right

from edge_wsd.decoding.common_prefix import common_prefix
from edge_wsd.decoding.protocols import Vocabulary

LONGEST_HOLD = 32
"""Characters that are held back where no cut is certain: tokens that end before them are handed over all the same."""
_HIGHEST_HOLD = 2 * LONGEST_HOLD
"""Where no token ends before them, or none is known to, everything is handed over beyond so many characters."""

_LONGEST_CONTEXT = 4 * _HIGHEST_HOLD


class Recut:
    """`tokens` are those handed over, behind a prompt that ends in `anchor`; `strip` drops white space in front.

    Between two characters that no token of the vocabulary joins, every text is cut, whatever follows. What lies
    behind the last such place is held back. In a stretch without one, such as a long number, tokens are handed over
    that later text may change after all: `settle` and `flush` find that out.
    """

    def __init__(self, vocabulary: Vocabulary, anchor: str, *, strip: bool = False) -> None:
        self.tokens: list[int] = []
        self._vocabulary = vocabulary
        self._anchor = anchor
        self._strip = strip
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._given: list[str] = []  # the text of `tokens`, as it was handed over
        self._ends: list[int] = []  # how many tokens there were behind each of these
        self._n_checked = 0  # how many of these end in a certain cut and were held against the whole text
        self._held = ""

    def add(self, data: bytes) -> int:
        """Add text, whose last character may be incomplete; returns the index of the first entry that is new."""
        n = len(self.tokens)
        new = self._decoder.decode(data)
        self._held += new
        if self._strip and not self._given:
            self._held = self._held.lstrip()
        n_ready = max(self._n_certain(), len(self._held) - LONGEST_HOLD)
        if new and n_ready > 0:
            tokens, text = self.held(), self._held.encode()
            n_tokens, end = _fitting(self._vocabulary, tokens, text, len(self._held[:n_ready].encode()))
            if not n_tokens and len(self._held) > _HIGHEST_HOLD:
                n_tokens, end = len(tokens), len(text)
            self._hand_over(tokens[:n_tokens], text, end)
        return n

    def settle(self) -> int:
        """Hold what was handed over against the whole text cut at once; returns the first entry that changed.

        What stands before a certain cut and was held against it once needs that no more.
        """
        first, tokens = self._cut_anew(self._held)
        n_before = self._n_tokens(first)
        unchanged = n_before + common_prefix(self.tokens[n_before:], tokens)
        if unchanged < len(self.tokens):
            given = "".join(self._given[first:])
            text = (given + self._held).encode()
            n_tokens, end = _fitting(self._vocabulary, tokens, text, len(given.encode()))
            self._take_back(first)
            self._hand_over(tokens[:n_tokens], text, end)
        self._n_checked = self._last_certain(first)
        return min(unchanged, len(self.tokens))

    def flush(self) -> int:
        """Hand over what was held back, without white space at its end; returns the first entry that changed."""
        held = (self._held + self._decoder.decode(b"", final=True)).rstrip()
        first, tokens = self._cut_anew(held)
        n_before = self._n_tokens(first)
        unchanged = n_before + common_prefix(self.tokens[n_before:], tokens)
        kept = bisect_right(self._ends, unchanged, lo=first)
        text = ("".join(self._given[kept:]) + held).encode()
        self._take_back(kept)
        self._hand_over(tokens[len(self.tokens) - n_before :], text, len(text))
        self._n_checked = self._last_certain(first)
        return unchanged

    def whole(self) -> list[int]:
        """All of the text so far in tokens."""
        return self.tokens + self.held()

    def _n_certain(self) -> int:
        """Characters of what is held back up to the last certain cut."""
        held, can_join = self._held, self._vocabulary.can_join
        last = len(held.rstrip())  # white space may be the end of the text, where it is dropped
        return next((at for at in range(min(last, len(held) - 1), 0, -1) if not can_join(held[at - 1], held[at])), 0)

    def held(self) -> list[int]:
        """What is held back, in tokens; later text may change those at the end."""
        tokens = self._cut_behind(len(self._given), self._held)
        # A newline in front: some tokenizers put a space before the first word of a text.
        return tokenize_after(self._vocabulary, "\n", self._held) if tokens is None else tokens

    def _cut_anew(self, held: str) -> tuple[int, list[int]]:
        """The text from the last certain cut on that was checked, in tokens, and how many pieces stand before it."""
        first = self._n_checked
        tokens = self._cut_behind(first, "".join(self._given[first:]) + held)
        if tokens is not None:
            return first, tokens
        return 0, self._cut_behind(0, "".join(self._given) + held) or []

    def _cut_behind(self, n_given: int, text: str) -> list[int] | None:
        """Tokens of `text` behind the first `n_given` pieces; None if a token reaches across, as far as can be told."""
        if not text:
            return []
        if not n_given:
            return tokenize_after(self._vocabulary, self._anchor, text)
        before = self._end_of(self._given[n_given - 1])
        both = self._vocabulary.tokenize(before + text)
        n, end = _fitting(self._vocabulary, both, (before + text).encode(), n_before := len(before.encode()))
        return both[n:] if end == n_before else None

    def _end_of(self, piece: str) -> str:
        """As much of a piece as decides how the text behind it is cut."""
        if len(piece) <= _LONGEST_CONTEXT:
            return piece
        start, can_join = len(piece) - _LONGEST_CONTEXT, self._vocabulary.can_join
        cuts = (at for at in range(start, len(piece)) if not can_join(piece[at - 1], piece[at]))
        return piece[next(cuts, start) :]

    def _last_certain(self, first: int) -> int:
        """Pieces up to the last certain cut between two of them, at least `first`."""
        behind = self._held
        for n in range(len(self._given), first, -1):
            if behind and not self._vocabulary.can_join(self._given[n - 1][-1], behind[0]):
                return n
            behind = self._given[n - 1]
        return first

    def _n_tokens(self, n_given: int) -> int:
        return self._ends[n_given - 1] if n_given else 0

    def _take_back(self, n_given: int) -> None:
        """All but the first `n_given` pieces."""
        del self.tokens[self._n_tokens(n_given) :], self._given[n_given:], self._ends[n_given:]

    def _hand_over(self, tokens: list[int], text: bytes, end: int) -> None:
        self.tokens += tokens
        self._held = text[end:].decode()
        if end:
            self._given.append(text[:end].decode())
            self._ends.append(len(self.tokens))


def _fitting(vocabulary: Vocabulary, tokens: list[int], text: bytes, n_bytes: int) -> tuple[int, int]:
    """How many of the first `tokens`, which are `text`, end within `n_bytes` and with a character; and where they end.

    None do where the tokens are not the bytes of the text, as with tokenizers that normalise it.
    """
    pieces = [vocabulary.piece(token) for token in tokens]
    joined = b"".join(pieces)
    if joined not in (text, b" " + text):
        return 0, 0
    found, end = (0, 0), len(text) - len(joined)  # a space may have been put in front
    for n, piece in enumerate(pieces, start=1):
        end += len(piece)
        if end > n_bytes:
            break
        if end > 0 and (text[end : end + 1] <= b"\x7f" or text[end] >= 0xC0):
            found = n, end
    return found


def tokenize_after(vocabulary: Vocabulary, anchor: str, text: str) -> list[int]:
    """Tokens of `text` as it is cut behind `anchor`, the end of what stands before it."""
    before = vocabulary.tokenize(anchor)
    both = vocabulary.tokenize(anchor + text)
    if both[: len(before)] == before:
        return both[len(before) :]
    return vocabulary.tokenize(text)  # anchor and text share a token, so there is no cut between them
