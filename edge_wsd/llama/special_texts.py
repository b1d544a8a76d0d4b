"""The texts of control tokens, such as `<|im_end|>`: finding them, and keeping what merely looks like them a text.

>>> specials = SpecialTexts({"<|im_end|>": 7}, lstrip=set(), rstrip=set())
>>> specials.split("Hi<|im_end|>")
['Hi', 7]
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping

_C_SPACES = " \t\n\v\f\r"
"""What `isspace` of C knows, which llama.cpp asks."""


class SpecialTexts:
    """Splits texts as llama.cpp does where it reads the texts of control tokens as those tokens.

    `ids` are the control tokens by their texts; those in `lstrip` and `rstrip` swallow the white space beside them.
    """

    def __init__(self, ids: Mapping[str, int], *, lstrip: Collection[int], rstrip: Collection[int]) -> None:
        self.ids = dict(sorted(ids.items(), key=lambda item: len(item[0].encode()), reverse=True))
        self._lstrip, self._rstrip = lstrip, rstrip
        self._firsts = {text[0] for text in self.ids}

    def broken(self, text: str, mark: str) -> str:
        """`text` with `mark` in everything that looks like a control token, so that `split` finds none in it.

        A mark is one character that is not in the text, and stands behind the first character of such a text.
        """
        if not (found := self._in(text)):
            return text
        pattern = re.compile(f"(?:{_any_of(found)})(?!{re.escape(mark)})")
        before = None
        while text != before:  # one may begin inside another
            before, text = text, pattern.sub(lambda found: found[0][0] + mark + found[0][1:], text)
        return text

    def split(self, text: str, mark: str | None = None) -> list[str | int]:
        """Texts and ids, in order. What has the `mark` in it stays text; marks are taken out."""
        parts: list[str | int] = [text]
        for special in self.ids:  # the longest first, each through the whole text
            if special in text:
                parts = [piece for part in parts for piece in self._cut(part, special, mark)]
        if mark is None:
            return parts
        return [part.replace(mark, "") if isinstance(part, str) else part for part in parts]

    def pieces(self, text: str) -> list[str | int]:
        """`text` cut at the texts of control tokens, each the longest there, with all white space."""
        if not (found := self._in(text)):
            return [text]
        return [self.ids.get(piece, piece) for piece in re.split(f"({_any_of(found)})", text) if piece]

    def _cut(self, part: str | int, special: str, mark: str | None) -> list[str | int]:
        if isinstance(part, int):
            return [part]
        token = self.ids[special]
        pieces = re.split(re.escape(special) + (f"(?!{re.escape(mark)})" if mark else ""), part)
        if token in self._lstrip:
            pieces[:-1] = [piece.rstrip(_C_SPACES) for piece in pieces[:-1]]
        if token in self._rstrip:
            pieces[1:] = [piece.lstrip(_C_SPACES) for piece in pieces[1:]]
        cut: list[str | int] = []
        for piece in pieces:
            cut += [piece, token] if piece else [token]
        return cut[:-1]

    def _in(self, text: str) -> list[str]:
        """Those that the text holds. A vocabulary has hundreds, and trying each at each place takes long."""
        return [] if self._firsts.isdisjoint(text) else [special for special in self.ids if special in text]


def _any_of(texts: Iterable[str]) -> str:
    return "|".join(map(re.escape, texts))
