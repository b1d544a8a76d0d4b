"""Which drafted tokens only repeat the question or an earlier part of the draft.

A model is sure of what it has just read, whatever else it knows, so such tokens say little about whether the base
could continue by itself. The published rule counts them; `Options.ignore_repeated` keeps them out of the window.
"""

from __future__ import annotations

import codecs
from bisect import bisect_left
from collections.abc import Callable

SPAN = 3
"""How many tokens with visible text, including the judged one, must have occurred before."""


class Repetition:
    """One per reply, fed the draft in the base's tokens. `piece` gives the bytes of a token.

    A token is repeated if the text of the last `SPAN` tokens, ending with it, occurs in the question or earlier in the
    draft. Texts are compared, so it does not matter how they were split into tokens there. Case is ignored, and any
    white space counts as one space. A token without visible text goes with the one before it.
    """

    def __init__(self, piece: Callable[[int], bytes], question: str) -> None:
        self.repeated: list[bool] = []
        """One per token."""
        self._piece = piece
        self._question = _comparable(question.encode())
        self._draft: list[bytes] = []
        self._visible: list[int] = []  # positions of the tokens with visible text
        self._before = _Comparable()

    def push(self, token: int) -> bool:
        """Add the next token; returns whether it is repeated."""
        data = self._piece(token)
        if data.strip():
            self._visible.append(len(self._draft))
            self._draft.append(data)
            span = self._last_span()
            repeated = span is not None and (span in self._question or span in self._before)
        else:
            self._draft.append(data)
            repeated = self.repeated[-1] if self.repeated else False
        self._before.add(data)
        self.repeated.append(repeated)
        return repeated

    def cut(self, n: int) -> None:
        """Forget all but the first `n` tokens."""
        del self._draft[n:], self.repeated[n:]
        del self._visible[bisect_left(self._visible, n) :]
        self._before = _Comparable()
        self._before.add(b"".join(self._draft))

    def _last_span(self) -> bytes | None:
        if len(self._visible) < SPAN:
            return None
        return _comparable(b"".join(self._draft[self._visible[-SPAN] :]))


class _Comparable:
    """`_comparable` of a growing text: only what is new is decoded and folded."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="surrogateescape")
        self._text = bytearray()
        self._has_space = False  # at the end of the text; it counts if something follows

    def add(self, data: bytes) -> None:
        """Add the next bytes; they may end inside a character."""
        new = self._decoder.decode(data)
        if folded := _comparable_text(new):
            self._text += self._space(new[0].isspace()) + folded
            self._has_space = False
        self._has_space |= bool(new) and new[-1].isspace()

    def __contains__(self, span: bytes) -> bool:
        incomplete = self._decoder.getstate()[0]
        if not incomplete:
            return span in self._text
        end = len(self._text)
        self._text += self._space(False) + incomplete
        try:
            return span in self._text
        finally:
            del self._text[end:]

    def _space(self, comes: bool) -> bytes:
        return b" " if self._text and (comes or self._has_space) else b""


def _comparable(data: bytes) -> bytes:
    """Lower case, single spaces. Bytes of an incomplete character stay as they are."""
    return _comparable_text(data.decode("utf-8", errors="surrogateescape"))


def _comparable_text(text: str) -> bytes:
    return " ".join(text.casefold().split()).encode("utf-8", errors="surrogateescape")
