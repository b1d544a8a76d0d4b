"""Which drafted tokens only repeat what stands in the question or earlier in the draft.

A model is sure of what it has just read, whatever else it knows, so such tokens tell little about whether the base
could go on by itself. The published rule counts them; `Options.ignore_repeated` keeps them out of the window.
"""

from __future__ import annotations

from collections.abc import Callable

SPAN = 3
"""Tokens with visible text, the judged one included, that must stand somewhere before."""


class Repetition:
    """One per reply, fed the draft in the base's tokens. `piece` gives the bytes of a token.

    A token is repeated if the text of the last `SPAN` tokens, which ends with it, stands in the question, or in the
    draft before it. Texts are compared, so it does not matter which tokens they were cut into there; nor do capitals,
    and all white space is one space. A token without visible text goes with the one before it.
    """

    def __init__(self, piece: Callable[[int], bytes], question: str) -> None:
        self.repeated: list[bool] = []
        """One per token."""
        self._piece = piece
        self._question = _comparable(question.encode())
        self._draft: list[bytes] = []

    def push(self, token: int) -> bool:
        """Add the next token; returns whether it is repeated."""
        before, data = b"".join(self._draft), self._piece(token)
        self._draft.append(data)
        if data.strip():
            span = self._last_span()
            repeated = span is not None and (span in self._question or span in _comparable(before))
        else:
            repeated = self.repeated[-1] if self.repeated else False
        self.repeated.append(repeated)
        return repeated

    def cut(self, n: int) -> None:
        """Forget all but the first `n` tokens."""
        del self._draft[n:], self.repeated[n:]

    def _last_span(self) -> bytes | None:
        n_visible = 0
        for at in range(len(self._draft) - 1, -1, -1):
            n_visible += bool(self._draft[at].strip())
            if n_visible == SPAN:
                return _comparable(b"".join(self._draft[at:]))
        return None


def _comparable(data: bytes) -> bytes:
    """Small letters, single spaces. Bytes of a character that is cut in two stay as they are."""
    text = data.decode("utf-8", errors="surrogateescape").casefold()
    return " ".join(text.split()).encode("utf-8", errors="surrogateescape")
