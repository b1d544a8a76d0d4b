"""The space that SentencePiece puts in front of a text, where a file says that not every part of it gets one.

llama.cpp puts it in front of the text and behind every special token. Tokenizers of newer checkpoints put it in front
of the text only, or not before a space; their files say so under `KEY`, which llama.cpp passes over.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

KEY = "edge_wsd.tokenizer.space_prefix"
SCHEMES = FIRST, ALWAYS = "first", "always"
# In these vocabularies it is a byte of its own, so nothing before it is joined with what follows.
_BARRIER = "\n"
_SPACES = (" ", "\u2581")


class SpacePrefix:
    """Splits texts with the space only where `scheme` has it. `raw` is llama.cpp's tokenizer without specials.

    `control` and `user_defined` are the ids of special tokens by their texts.
    """

    def __init__(
        self,
        scheme: str,
        raw: Callable[[str], list[int]],
        control: Mapping[str, int],
        user_defined: Mapping[str, int],
    ) -> None:
        self._everywhere = scheme == ALWAYS
        self._raw = raw
        self._ids = {**control, **user_defined}
        self._cuts = {False: _pattern(user_defined), True: _pattern(self._ids)}
        self._barrier = raw(_BARRIER)

    @property
    def works(self) -> bool:
        """Whether nothing is joined across the barrier in this vocabulary."""
        n = len(self._barrier)
        return all(self._raw(_BARRIER + text)[:n] == self._barrier for text in (_BARRIER, " ", "a", "."))

    def tokenize(self, text: str, special: bool) -> list[int]:
        """Token ids of `text`; `special` reads the texts of control tokens as those tokens."""
        tokens: list[int] = []
        at = 0
        for part in self._cuts[special].split(text):
            if part in self._ids and (special or self._cuts[False].fullmatch(part)):
                tokens.append(self._ids[part])
            elif part:
                tokens.extend(self._part(part, at == 0))
            at += len(part)
        return tokens

    def _part(self, part: str, first: bool) -> list[int]:
        if (first or self._everywhere) and not part.startswith(_SPACES):
            return self._raw(part)
        return self._raw(_BARRIER + part)[len(self._barrier) :]


def _pattern(texts: Mapping[str, int]) -> re.Pattern[str]:
    longest_first = sorted(texts, key=lambda text: len(text.encode()), reverse=True)
    return re.compile(f"({'|'.join(map(re.escape, longest_first))})" if longest_first else "((?!))")
