"""Between two vocabularies: what the drafter writes becomes tokens of the base, and the other way round.

A reply consists of the base's tokens. If the vocabularies are the same, ids pass through. Otherwise text does: the
draft's text is split into the base's tokens, and only those that later text can hardly change are handed over.
"""

from __future__ import annotations

import codecs
import math
from bisect import bisect_left
from itertools import accumulate
from typing import Protocol

from edge_wsd.decoding.proposal import Proposal
from edge_wsd.decoding.protocols import Vocabulary
from edge_wsd.decoding.recut import LONGEST_HOLD, Recut, tokenize_after

_LONGEST_ANCHOR = 64
_CONTINUATIONS = frozenset(bytes([byte]) for byte in range(0x80, 0xC0))
"""Bytes that never begin a character."""
_LOOK_BEHIND = 16
"""Tokens of a reply that decide how the text behind it is split."""


class Draft(Protocol):
    """The draft in the base's tokens. `tokens` grows; everything in it was handed over."""

    tokens: list[int]

    def push(self, token: int) -> int:
        """Add a token of the drafter; returns the index of the first entry of `tokens` that is new or changed."""

    def settle(self) -> int:
        """Check what was handed over, before anything final is based on it; returns as `push` does."""

    def flush(self) -> int:
        """Hand over what was held back, without white space at the end; returns as `push` does."""


class Echo(Protocol):
    """A reply in the drafter's tokens, for the drafter to continue."""

    def tokens(self, reply: list[int]) -> list[int]:
        """The reply so far. Cheap if the reply only grew since the last call. Do not change the list."""

    def to_base(self, drafted: list[int], chances: list[float], *, strip: bool = False) -> Proposal:
        """What the drafter wrote behind the reply that was asked for last, with the probabilities it gave.

        `strip` drops white space in front.
        """


class Bridge(Protocol):
    """Made once per pair."""

    def draft(self, anchor: str, *, strip: bool) -> Draft:
        """A new draft after a prompt that ends with `anchor`; `strip` drops white space at its beginning."""

    def echo(self, anchor: str) -> Echo:
        """A new reply after the drafter's prompt, which ends with `anchor`."""


class SameVocabulary:
    """Ids pass through. One vocabulary may have a padded tail; those ids mean nothing and are left out."""

    def __init__(self, drafter: Vocabulary, base: Vocabulary) -> None:
        self._base = base
        self._n_drafter = None if base.n_tokens <= drafter.n_tokens else drafter.n_tokens
        self._n_common = min(drafter.n_tokens, base.n_tokens)

    def draft(self, anchor: str, *, strip: bool) -> Draft:
        return _SameDraft(self._base, self._n_common, anchor, strip)

    def echo(self, anchor: str) -> Echo:
        return _SameEcho(self._base, self._n_drafter, self._n_common)


class _SameDraft:
    def __init__(self, vocabulary: Vocabulary, n_common: int, anchor: str, strip: bool) -> None:
        self.tokens: list[int] = []
        self._vocabulary = vocabulary
        self._n_common = n_common
        self._anchor = anchor
        self._strip = strip
        self._held: list[int] = []  # may turn out to be the end of the draft, whose white space is dropped

    def push(self, token: int) -> int:
        n = len(self.tokens)
        text = self._text([token]) if token < self._n_common else ""
        if not text:
            return n  # a control token is no text
        if self._strip and not self.tokens and not self._held and text[0].isspace():
            self._held = tokenize_after(self._vocabulary, self._anchor, text.lstrip())
        else:
            self._held.append(token)
        if self._held and (not text[-1].isspace() or len(self._text(self._held)) > LONGEST_HOLD):
            self.tokens += self._held
            self._held = []
        return n

    def settle(self) -> int:
        return len(self.tokens)

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


class _SameEcho:
    """`n_tokens` is the size of the drafter's vocabulary if the base's is larger."""

    def __init__(self, base: Vocabulary, n_tokens: int | None, n_common: int) -> None:
        self._base = base
        self._n_tokens = n_tokens
        self._n_common = n_common
        self._reply: list[int] = []
        self._tokens: list[int] = []

    def tokens(self, reply: list[int]) -> list[int]:
        if self._n_tokens is None:
            return reply
        new = _added(self._reply, reply)
        if new is None:
            self._tokens, self._reply, new = [], list(reply), reply
        self._tokens += [token for token in new if token < self._n_tokens]
        return self._tokens

    def to_base(self, drafted: list[int], chances: list[float], *, strip: bool = False) -> Proposal:
        known = [(token, chance) for token, chance in zip(drafted, chances, strict=True) if token < self._n_common]
        tokens, chances = [token for token, _ in known], [chance for _, chance in known]
        pieces = [self._base.piece(token) for token in tokens] if strip else []
        if n_space := _n_space(pieces):
            tokens = _alone(self._base, b"".join(pieces)[n_space:])
            chances = _chances(self._base, tokens, pieces, chances, n_space)
        return Proposal(tokens, chances)


class ThroughText:
    """Text passes through, split into the other side's tokens."""

    def __init__(self, drafter: Vocabulary, base: Vocabulary) -> None:
        self._drafter = drafter
        self._base = base

    def draft(self, anchor: str, *, strip: bool) -> Draft:
        return _TextDraft(self._drafter, self._base, anchor, strip)

    def echo(self, anchor: str) -> Echo:
        return _TextEcho(self._drafter, self._base, anchor)


class _TextDraft(Recut):
    def __init__(self, drafter: Vocabulary, base: Vocabulary, anchor: str, strip: bool) -> None:
        super().__init__(base, anchor, strip=strip)
        self._drafter = drafter

    def push(self, token: int) -> int:
        return self.add(self._drafter.piece(token))


class _TextEcho:
    def __init__(self, drafter: Vocabulary, base: Vocabulary, anchor: str) -> None:
        self._drafter, self._base, self._anchor = drafter, base, anchor
        self._reply: list[int] = []
        self._tokens: list[int] = []
        self._recut = Recut(drafter, anchor)

    def tokens(self, reply: list[int]) -> list[int]:
        new = _added(self._reply, reply)
        if new is None:
            self._tokens, self._reply, new = [], list(reply), reply
            self._recut = Recut(self._drafter, self._anchor)
        n = len(self._recut.tokens)
        self._recut.add(b"".join(map(self._base.piece, new)))
        self._tokens[n:] = self._recut.tokens[n:] + self._recut.held()
        return self._tokens

    def to_base(self, drafted: list[int], chances: list[float], *, strip: bool = False) -> Proposal:
        pieces = [self._drafter.piece(token) for token in drafted]
        n_space = _n_space(pieces) if strip else 0
        n_unfinished = self._recut.n_unfinished  # the drafter does not see these bytes, and writes them again
        tokens = split_behind(self._base, self._reply, b"".join(pieces)[n_space:], n_unfinished)
        return Proposal(tokens, _chances(self._base, tokens, pieces, chances, n_space + n_unfinished))


def _added(known: list[int], reply: list[int]) -> list[int] | None:
    """What `reply` adds to `known`, which is updated to it; None if `reply` does not begin with `known`."""
    new = reply[len(known) :]
    known += new  # two whole lists are compared faster than a part of one is copied
    return new if known == reply else None


def anchor_of(prompt: str) -> str:
    """The end of a prompt, which decides how the text after it is split: from the last line break, if that is near."""
    return prompt[max(prompt.rfind("\n"), len(prompt) - _LONGEST_ANCHOR, 0) :]


def split_behind(base: Vocabulary, reply: list[int], data: bytes, n_unfinished: int = 0) -> list[int]:
    """The tokens behind `reply` that the base has for `data`, split together with the end of the reply.

    `data` begins with the last `n_unfinished` bytes of the reply: a character that is not complete there. If it does
    not, there is no such continuation. An incomplete character at the end of `data` is left out.

    Source: string-level exact match, Timor et al., arXiv 2502.05202: text passes between the models, and a token stands
    where the base chooses it itself.
    """
    before = b"".join(map(base.piece, reply[_start_of_end(base, reply) :]))
    whole = before[: len(before) - n_unfinished] + data
    if not whole.startswith(before):
        return []
    # What is no text is replaced, which changes its length.
    tokens = tokenize_after(base, "\n", _whole_characters(whole).decode("utf-8", errors="replace"))
    n, shared = 0, b""
    while n < len(tokens) and len(shared) < len(before):
        shared += base.piece(tokens[n])
        n += 1
    # Otherwise the reply ends inside a token: the base has split it in its own way, and goes on behind that.
    return tokens[n:] if shared == before else _alone(base, whole[len(before) :])


def _start_of_end(base: Vocabulary, reply: list[int]) -> int:
    """Where the end of a reply begins that decides how the text behind it is split: with a whole character."""
    first = max(len(reply) - _LOOK_BEHIND, 0)
    starts = (at for at in range(first, len(reply)) if base.piece(reply[at])[:1] not in _CONTINUATIONS)
    return next(starts, len(reply))


def _alone(base: Vocabulary, data: bytes) -> list[int]:
    """Tokens of text by itself; none if it begins within a character."""
    # A newline in front: some tokenizers put a space before the first word of a text.
    whole = data[:1] not in _CONTINUATIONS
    return tokenize_after(base, "\n", _whole_characters(data).decode("utf-8", errors="replace")) if whole else []


def _chances(
    base: Vocabulary, tokens: list[int], pieces: list[bytes], chances: list[float], n_dropped: int
) -> list[float]:
    """The probabilities of drafted `pieces`, each counted where its text begins, so that their product is the same.

    The first `n_dropped` bytes of the text are not in `tokens`; what was drafted for them counts in the first.
    """
    begins = list(accumulate(map(len, pieces[:-1]), initial=-n_dropped))
    found, first, end = [], 0, 0
    for token in tokens:
        end += len(base.piece(token))
        behind = bisect_left(begins, end)
        found.append(math.prod(chances[first:behind]))
        first = behind
    return found


def _n_space(pieces: list[bytes]) -> int:
    """Bytes of white space in front."""
    text = _whole_characters(b"".join(pieces)).decode("utf-8", errors="replace")
    return len(text[: len(text) - len(text.lstrip())].encode())


def _whole_characters(data: bytes) -> bytes:
    """Without an incomplete character at the end."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    decoder.decode(data)
    return data[: len(data) - len(decoder.getstate()[0])]
