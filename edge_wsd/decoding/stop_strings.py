"""Stop strings in which control tokens stand: those are never part of a text, so each is searched for by a mark.

>>> specials = SpecialTexts({"<|im_end|>": 7}, lstrip=set(), rstrip=set())
>>> StopStrings.of(["bye<|im_end|>", "bye"], specials.pieces).patterns
{'bye<|im_end|>': 'bye<|im_end|>', 'bye\\ud800': 'bye<|im_end|>', 'bye': 'bye'}
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

_FIRST_MARK = 0xD800  # half a character, which no text has


@dataclass(frozen=True, slots=True)
class StopStrings:
    """`patterns` are what is searched for, with the stop strings they stand for; `marks` stand for tokens in them."""

    patterns: dict[str, str] = field(default_factory=dict)
    marks: dict[int, str] = field(default_factory=dict)

    @classmethod
    def of(cls, stops: Iterable[str], pieces: Callable[[str], list[str | int]]) -> StopStrings:
        """`pieces` cuts a string into texts and control tokens."""
        found = cls()
        for stop in stops:
            found.patterns[stop] = stop  # it may also be written out, letter by letter
            found.patterns["".join(map(found._spelled, pieces(stop)))] = stop
        return found

    def _spelled(self, piece: str | int) -> str:
        if isinstance(piece, str):
            return piece
        return self.marks.setdefault(piece, chr(_FIRST_MARK + len(self.marks)))
