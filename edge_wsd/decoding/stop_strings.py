"""Stop strings that contain control tokens: those are never part of a text, so marks are searched for instead.

>>> specials = SpecialTexts({"<|im_end|>": 7}, lstrip=set(), rstrip=set())
>>> StopStrings.of(["bye<|im_end|>", "bye"], specials.pieces).patterns
{'bye<|im_end|>': 'bye<|im_end|>', 'bye\\ud800': 'bye<|im_end|>', 'bye': 'bye'}
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

_FIRST_MARK = 0xD800  # half a surrogate pair, which no text contains


@dataclass(frozen=True, slots=True)
class StopStrings:
    """`patterns` maps what is searched for to the stop strings that it stands for; `marks` stand for tokens in them."""

    patterns: dict[str, str] = field(default_factory=dict)
    marks: dict[int, str] = field(default_factory=dict)

    @classmethod
    def of(cls, stops: Iterable[str], pieces: Callable[[str], list[str | int]]) -> StopStrings:
        """`pieces` splits a string into texts and control tokens."""
        found = cls()
        for stop in stops:
            found.patterns[stop] = stop  # a model may also spell it out, letter by letter
            found.patterns["".join(map(found._spelled, pieces(stop)))] = stop
        return found

    def _spelled(self, piece: str | int) -> str:
        if isinstance(piece, str):
            return piece
        return self.marks.setdefault(piece, chr(_FIRST_MARK + len(self.marks)))
