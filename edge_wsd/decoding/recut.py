"""A text that grows, in the tokens of a vocabulary: cut anew only from where later text can no longer change it."""

from __future__ import annotations

import codecs

from edge_wsd.decoding.sequence import Vocabulary, common_prefix

LONGEST_HOLD = 32
"""Characters that are held back where no cut is certain: tokens that end before them are handed over all the same."""
_HIGHEST_HOLD = 2 * LONGEST_HOLD
"""Where no token ends before them, or none is known to, everything is handed over beyond so many characters."""


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
            tokens, text = self._cut_held(), self._held.encode()
            n_tokens, end = _fitting(self._vocabulary, tokens, text, len(self._held[:n_ready].encode()))
            if not n_tokens and len(self._held) > _HIGHEST_HOLD:
                n_tokens, end = len(tokens), len(text)
            self._hand_over(tokens[:n_tokens], text, end)
        return n

    def settle(self) -> int:
        """Hold what was handed over against the whole text cut at once; returns the first entry that changed."""
        given = "".join(self._given)
        text = (given + self._held).encode()
        whole = tokenize_after(self._vocabulary, self._anchor, text.decode())
        unchanged = common_prefix(self.tokens, whole)
        if unchanged < len(self.tokens):
            self.tokens, self._given = [], []
            n_tokens, end = _fitting(self._vocabulary, whole, text, len(given.encode()))
            self._hand_over(whole[:n_tokens], text, end)
        return min(unchanged, len(self.tokens))

    def flush(self) -> int:
        """Hand over what was held back, without white space at its end; returns the first entry that changed."""
        text = "".join(self._given) + (self._held + self._decoder.decode(b"", final=True)).rstrip()
        whole = tokenize_after(self._vocabulary, self._anchor, text) if text else []
        unchanged = common_prefix(self.tokens, whole)
        self.tokens, self._given, self._held = whole, [text], ""
        return unchanged

    def whole(self) -> list[int]:
        """All of the text so far in tokens; later text may change those at the end."""
        return self.tokens + self._cut_held()

    def _n_certain(self) -> int:
        """Characters of what is held back up to the last certain cut."""
        held, can_join = self._held, self._vocabulary.can_join
        last = len(held.rstrip())  # white space may be the end of the text, where it is dropped
        return next((at for at in range(min(last, len(held) - 1), 0, -1) if not can_join(held[at - 1], held[at])), 0)

    def _cut_held(self) -> list[int]:
        """What is held back, in tokens."""
        if not self._held:
            return []
        if not self._given:
            return tokenize_after(self._vocabulary, self._anchor, self._held)
        before = self._given[-1]
        both = self._vocabulary.tokenize(before + self._held)
        n, end = _fitting(self._vocabulary, both, (before + self._held).encode(), n_before := len(before.encode()))
        # A newline in front: some tokenizers put a space before the first word of a text.
        return both[n:] if end == n_before else tokenize_after(self._vocabulary, "\n", self._held)

    def _hand_over(self, tokens: list[int], text: bytes, end: int) -> None:
        self.tokens += tokens
        self._held = text[end:].decode()
        if end:
            self._given.append(text[:end].decode())


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
        if text[end : end + 1] <= b"\x7f" or text[end] >= 0xC0:
            found = n, max(end, 0)
    return found


def tokenize_after(vocabulary: Vocabulary, anchor: str, text: str) -> list[int]:
    """Tokens of `text` as it is cut behind `anchor`, the end of what stands before it."""
    before = vocabulary.tokenize(anchor)
    both = vocabulary.tokenize(anchor + text)
    if both[: len(before)] == before:
        return both[len(before) :]
    return vocabulary.tokenize(text)  # anchor and text share a token, so there is no cut between them
