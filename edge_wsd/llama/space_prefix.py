"""The space that SentencePiece puts in front of a text, where a file says that not every part of it gets one.

llama.cpp puts it in front of the text and behind every special token. Tokenizers of newer checkpoints put it in front
of the text only, or not before a space; their files say so under `KEY`, which llama.cpp passes over.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

KEY = "edge_wsd.tokenizer.space_prefix"
SCHEMES = FIRST, ALWAYS = "first", "always"
# In these vocabularies it is a byte of its own, so nothing before it is joined with what follows.
_BARRIER = "\n"
_SPACES = (" ", "\u2581")


class SpacePrefix:
    """Splits texts with the space only where `scheme` has it. `raw` is llama.cpp's tokenizer without specials.

    `user_defined` are the ids of tokens by their texts that llama.cpp finds in every text.
    """

    def __init__(self, scheme: str, raw: Callable[[str], list[int]], user_defined: Mapping[str, int]) -> None:
        self._everywhere = scheme == ALWAYS
        self._raw = raw
        self._user_defined = user_defined
        longest_first = sorted(user_defined, key=lambda text: len(text.encode()), reverse=True)
        self._cut = re.compile(f"({'|'.join(map(re.escape, longest_first))})" if longest_first else "((?!))")
        self._barrier = raw(_BARRIER)

    @property
    def works(self) -> bool:
        """Whether nothing is joined across the barrier in this vocabulary."""
        n = len(self._barrier)
        return all(self._raw(_BARRIER + text)[:n] == self._barrier for text in (_BARRIER, " ", "a", "."))

    def tokenize(self, parts: Iterable[str | int]) -> list[int]:
        """Token ids of a text, given in pieces between special tokens, whose ids stay."""
        tokens: list[int] = []
        first = True
        for part in parts:
            for piece in self._cut.split(part) if isinstance(part, str) else [part]:
                if isinstance(piece, int):
                    tokens.append(piece)
                elif piece in self._user_defined:
                    tokens.append(self._user_defined[piece])
                elif piece:
                    tokens += self._text(piece, first)
                else:
                    continue
                first = False
        return tokens

    def _text(self, text: str, first: bool) -> list[int]:
        if (first or self._everywhere) and not text.startswith(_SPACES):
            return self._raw(text)
        return self._raw(_BARRIER + text)[len(self._barrier) :]
