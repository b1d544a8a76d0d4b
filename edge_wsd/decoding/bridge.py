"""Between two vocabularies: what the drafter writes becomes tokens of the base, and the other way round.

The base's tokens are the truth of a reply. Where the vocabularies are the same, ids pass through. Otherwise text does:
the draft's text is cut into the base's tokens, of which only those are handed over that later text can hardly change.
"""

from __future__ import annotations

import re
from typing import Protocol

from edge_wsd.decoding.sequence import Vocabulary, common_prefix

_LONGEST_ANCHOR = 64
_SPACE_RUN = re.compile(r"\s+(?=\S)")


class Draft(Protocol):
    """The draft in the base's tokens. `tokens` grows; what is in it was handed over."""

    tokens: list[int]

    def push(self, token: int) -> int:
        """Add a token of the drafter; returns the index of the first entry of `tokens` that is new or changed."""

    def flush(self) -> int:
        """Hand over what was held back, without white space at the end; returns as `push` does."""


class Bridge(Protocol):
    """Made once per pair."""

    def draft(self, anchor: str, *, strip: bool) -> Draft:
        """A new draft behind a prompt that ends in `anchor`; `strip` drops white space at its beginning."""

    def knows(self, token: int) -> bool:
        """Whether the drafter's `token` can be handed over at all."""

    def to_drafter(self, tokens: list[int], anchor: str) -> list[int]:
        """A reply so far, in the drafter's tokens."""

    def to_base(self, tokens: list[int]) -> list[int]:
        """A proposed continuation, in the base's tokens."""


class SameVocabulary:
    """Ids pass through. One vocabulary may have a padded tail, which stands for nothing."""

    def __init__(self, drafter: Vocabulary, base: Vocabulary) -> None:
        self._base = base
        self._n_common = min(drafter.n_tokens, base.n_tokens)

    def draft(self, anchor: str, *, strip: bool) -> Draft:
        return _SameDraft(self._base, anchor, strip)

    def knows(self, token: int) -> bool:
        return token < self._n_common

    def to_drafter(self, tokens: list[int], anchor: str) -> list[int]:
        return tokens

    def to_base(self, tokens: list[int]) -> list[int]:
        return tokens


class _SameDraft:
    def __init__(self, vocabulary: Vocabulary, anchor: str, strip: bool) -> None:
        self.tokens: list[int] = []
        self._vocabulary = vocabulary
        self._anchor = anchor
        self._strip = strip
        self._held: list[int] = []  # may turn out to be the end of the draft, whose white space is dropped

    def push(self, token: int) -> int:
        n = len(self.tokens)
        text = self._text([token])
        if not text:
            return n  # a control token is no text
        if self._strip and not self.tokens and not self._held and text[0].isspace():
            self._held = tokenize_after(self._vocabulary, self._anchor, text.lstrip())
        else:
            self._held.append(token)
        if self._held and not text[-1].isspace():
            self.tokens += self._held
            self._held = []
        return n

    def flush(self) -> int:
        n = len(self.tokens)
        text = self._text(self._held)
        if text != text.rstrip():
            self._held = tokenize_after(self._vocabulary, self._anchor, text.rstrip()) if text.rstrip() else []
        self.tokens += self._held
        self._held = []
        return n

    def _text(self, tokens: list[int]) -> str:
        return b"".join(map(self._vocabulary.piece, tokens)).decode("utf-8", errors="replace")


class ThroughText:
    """Text passes through, cut into the other side's tokens."""

    def __init__(self, drafter: Vocabulary, base: Vocabulary) -> None:
        self._drafter = drafter
        self._base = base

    def draft(self, anchor: str, *, strip: bool) -> Draft:
        return _TextDraft(self._drafter, self._base, anchor, strip)

    def knows(self, token: int) -> bool:
        return token < self._drafter.n_tokens

    def to_drafter(self, tokens: list[int], anchor: str) -> list[int]:
        return tokenize_after(self._drafter, anchor, _whole_text(self._base, tokens))

    def to_base(self, tokens: list[int]) -> list[int]:
        # A newline in front: some tokenizers put a space before the first word of a text.
        return tokenize_after(self._base, "\n", _whole_text(self._drafter, tokens))


class _TextDraft:
    def __init__(self, drafter: Vocabulary, base: Vocabulary, anchor: str, strip: bool) -> None:
        self.tokens: list[int] = []
        self._drafter = drafter
        self._base = base
        self._anchor = anchor
        self._strip = strip
        self._data = b""

    def push(self, token: int) -> int:
        self._data += self._drafter.piece(token)
        text = _whole_characters(self._data)
        if self._strip:
            text = text.lstrip()
        # The last word, and the space before it, may still grow into other tokens.
        spaces = [match.start() for match in _SPACE_RUN.finditer(text.rstrip())]
        return self._adopt(text, n_stable_bytes=len(text[: spaces[-1]].encode()) if spaces else 0)

    def flush(self) -> int:
        text = self._data.decode("utf-8", errors="replace").rstrip()
        if self._strip:
            text = text.lstrip()
        return self._adopt(text, n_stable_bytes=None)

    def _adopt(self, text: str, n_stable_bytes: int | None) -> int:
        """Cut the whole text anew; take over the stable part, and correct what was handed over if it changed."""
        whole = tokenize_after(self._base, self._anchor, text) if text else []
        n_stable = len(whole) if n_stable_bytes is None else self._n_within(whole, n_stable_bytes)
        unchanged = common_prefix(self.tokens, whole)
        if unchanged == len(self.tokens) and n_stable <= unchanged and n_stable_bytes is not None:
            return unchanged
        self.tokens = whole[: max(n_stable, unchanged)]
        return min(unchanged, len(self.tokens))

    def _n_within(self, tokens: list[int], n_bytes: int) -> int:
        """How many of the first tokens end within `n_bytes`."""
        end = 0
        for index, token in enumerate(tokens):
            end += len(self._base.piece(token))
            if end > n_bytes:
                return index
        return len(tokens)


def tokenize_after(vocabulary: Vocabulary, anchor: str, text: str) -> list[int]:
    """Tokens of `text` as it is cut behind `anchor`, the end of what stands before it."""
    before = vocabulary.tokenize(anchor)
    both = vocabulary.tokenize(anchor + text)
    if both[: len(before)] == before:
        return both[len(before) :]
    return vocabulary.tokenize(text)  # anchor and text share a token, so there is no cut between them


def anchor_of(prompt: str) -> str:
    """The end of a prompt that decides how the text behind it is cut: from its last line break on, if that is near."""
    return prompt[max(prompt.rfind("\n"), len(prompt) - _LONGEST_ANCHOR, 0) :]


def _whole_characters(data: bytes) -> str:
    """`data` as text, without an incomplete character at its end."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.reason == "unexpected end of data":
            return data[: error.start].decode("utf-8", errors="replace")
        return data.decode("utf-8", errors="replace")


def _whole_text(vocabulary: Vocabulary, tokens: list[int]) -> str:
    return _whole_characters(b"".join(map(vocabulary.piece, tokens)))
