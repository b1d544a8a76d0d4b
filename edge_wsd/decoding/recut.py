"""A growing text in the tokens of a vocabulary: only the part that later text can change is split again."""

from __future__ import annotations

import codecs
from bisect import bisect_right

from edge_wsd.decoding.common_prefix import common_prefix
from edge_wsd.decoding.protocols import Vocabulary

LONGEST_HOLD = 32
"""Characters that are held back if no cut is certain; tokens that end before them are handed over anyway."""
_HIGHEST_HOLD = 2 * LONGEST_HOLD
"""If no token is known to end before those, everything is handed over beyond this many characters."""

_LONGEST_CONTEXT = 4 * _HIGHEST_HOLD


class Recut:
    """`tokens` are those handed over, after a prompt that ends with `anchor`; `strip` drops leading white space.

    Between two characters that no token of the vocabulary joins, every text is split, whatever follows. Text after the
    last such place is held back. In a stretch without one, such as a long number, tokens are handed over that later
    text may still change: `settle` and `flush` find out.
    """

    def __init__(self, vocabulary: Vocabulary, anchor: str, *, strip: bool = False) -> None:
        self.tokens: list[int] = []
        self._vocabulary = vocabulary
        self._anchor = anchor
        self._strip = strip
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._given: list[str] = []  # the text of `tokens`, as it was handed over
        self._ends: list[int] = []  # how many tokens there were after each of these
        self._n_checked = 0  # how many of these end in a certain cut and were compared with the whole text
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

    @property
    def n_unfinished(self) -> int:
        """Bytes at the end of what was added that are the beginning of a character, and in no token yet."""
        return len(self._decoder.getstate()[0])

    def settle(self) -> int:
        """Compare what was handed over with the whole text split at once; returns the first entry that changed.

        What comes before a certain cut is compared only once.
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

    def _n_certain(self) -> int:
        """How many characters of what is held back come before the last certain cut."""
        held, can_join = self._held, self._vocabulary.can_join
        last = len(held.rstrip())  # white space may be the end of the text, where it is dropped
        return next((at for at in range(min(last, len(held) - 1), 0, -1) if not can_join(held[at - 1], held[at])), 0)

    def held(self) -> list[int]:
        """What is held back, in tokens; later text may change the last ones."""
        tokens = self._cut_behind(len(self._given), self._held)
        # A newline in front: some tokenizers put a space before the first word of a text.
        return tokenize_after(self._vocabulary, "\n", self._held) if tokens is None else tokens

    def _cut_anew(self, held: str) -> tuple[int, list[int]]:
        """The text from the last checked certain cut on, in tokens, and how many pieces come before it."""
        first = self._n_checked
        tokens = self._cut_behind(first, "".join(self._given[first:]) + held)
        if tokens is not None:
            return first, tokens
        return 0, self._cut_behind(0, "".join(self._given) + held) or []

    def _cut_behind(self, n_given: int, text: str) -> list[int] | None:
        """Tokens of `text` after the first `n_given` pieces; None if a token may reach across the boundary."""
        if not text:
            return []
        if not n_given:
            return tokenize_after(self._vocabulary, self._anchor, text)
        before = self._end_of(self._given[n_given - 1])
        both = self._vocabulary.tokenize(before + text)
        n, end = _fitting(self._vocabulary, both, (before + text).encode(), n_before := len(before.encode()))
        return both[n:] if end == n_before else None

    def _end_of(self, piece: str) -> str:
        """As much of a piece as decides how the text after it is split."""
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
    """How many of the first `tokens` of `text` end within `n_bytes` and after a whole character; and where they end.

    None if the tokens are not the bytes of the text, as with tokenizers that normalise it.
    """
    pieces = [vocabulary.piece(token) for token in tokens]
    joined = b"".join(pieces)
    if joined not in (text, b" " + text):
        return 0, 0
    found, end = (0, 0), len(text) - len(joined)  # the tokenizer may have put a space in front
    for n, piece in enumerate(pieces, start=1):
        end += len(piece)
        if end > n_bytes:
            break
        if end > 0 and (text[end : end + 1] <= b"\x7f" or text[end] >= 0xC0):
            found = n, end
    return found


def tokenize_after(vocabulary: Vocabulary, anchor: str, text: str) -> list[int]:
    """Tokens of `text` as it is split after `anchor`, the end of the preceding text."""
    before = vocabulary.tokenize(anchor)
    both = vocabulary.tokenize(anchor + text)
    if both[: len(before)] == before:
        return both[len(before) :]
    return vocabulary.tokenize(text)  # a token covers both anchor and text, so there is no cut between them
