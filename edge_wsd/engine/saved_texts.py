"""Texts that have left a context, kept in the host's memory: restoring one is much faster than reading it again."""

from __future__ import annotations

from dataclasses import dataclass

from edge_wsd.decoding.common_prefix import common_prefix
from edge_wsd.llama.sequence_state import SequenceState

_MOST = 256
"""Texts. A limit, so that looking at each of them stays quick."""


@dataclass(frozen=True, slots=True, eq=False)
class SavedText:
    """`tokens`, and llama.cpp's memory of them."""

    tokens: list[int]
    state: SequenceState


class SavedTexts:
    """At most `most_bytes` of texts; the most recently used stay."""

    def __init__(self, *, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._texts: list[SavedText] = []  # the least recently used first
        self.n_bytes = 0

    def __len__(self) -> int:
        return len(self._texts)

    def stop(self) -> None:
        """Take no more; from any thread."""
        self._most_bytes = 0

    def close(self) -> None:
        """Forget all of them, and take no more."""
        self.stop()
        self._texts, self.n_bytes = [], 0

    def takes(self, n_bytes: int) -> bool:
        """Whether a text of so many bytes may be added."""
        return n_bytes <= self._most_bytes

    def add(self, state: SequenceState) -> None:
        """Keep a text. The least recently used texts make room for it."""
        text = SavedText(list(state.tokens), state)
        for other in self._texts[:]:
            shared = common_prefix(other.tokens, text.tokens)
            if shared == len(other.tokens) and state.kept(shared) == shared:
                self.remove(other)  # the new text begins with it
        self._texts.append(text)
        self.n_bytes += state.n_bytes
        while self.n_bytes > self._most_bytes or len(self._texts) > _MOST:
            self.remove(self._texts[0])

    def longest(self, tokens: list[int]) -> tuple[SavedText | None, int]:
        """The text from which the longest beginning of `tokens` can be restored, and its length."""
        best, most = None, 0
        for text in self._texts:
            kept = text.state.kept(common_prefix(text.tokens, tokens))
            if kept > 0 and kept >= most:
                best, most = text, kept
        return best, most

    def use(self, text: SavedText) -> None:
        """Note that the text was used just now."""
        if text in self._texts:
            self._texts.remove(text)
            self._texts.append(text)

    def remove(self, text: SavedText) -> None:
        """Forget a text, unless that has happened already."""
        if text in self._texts:
            self._texts.remove(text)
            self.n_bytes -= text.state.n_bytes
