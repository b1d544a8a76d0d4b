"""Which characters a vocabulary can join: where no token reaches from one to the next, every text is cut there.

>>> joins = Joins([b"ab", b"c"])
>>> joins.can_join("a", "b"), joins.can_join("b", "c")
(True, False)
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

_BETWEEN = "\U0010ffff".encode()  # stands between two pieces, and for no character
_SHIFT = np.uint64(21)  # bits of a character


class Joins:
    """Every pair of neighbouring characters inside a token. `pieces` are the bytes of all tokens."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        # A token may begin or end inside a character: such bytes become lone surrogates, one for each.
        text = _BETWEEN.join(piece for piece in pieces if len(piece) > 1).decode("utf-8", errors="surrogateescape")
        characters = np.frombuffer(text.encode("utf-32-le", errors="surrogatepass"), np.uint32).astype(np.uint64)
        pairs = np.sort(characters[:-1] << _SHIFT | characters[1:])
        self._pairs = frozenset(pairs[np.diff(pairs, prepend=~np.uint64(0)) != 0].tolist())

    def can_join(self, left: str, right: str) -> bool:
        """Whether a token may reach from the character `left` into `right`, which follows it."""
        lefts = (ord(left), 0xDC00 + left.encode("utf-8", errors="replace")[-1])
        rights = (ord(right), 0xDC00 + right.encode("utf-8", errors="replace")[0])
        return any(a << 21 | b in self._pairs for a in lefts for b in rights)
