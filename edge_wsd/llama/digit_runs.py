"""Long runs of digits, cut before llama.cpp sees them, where its pre-tokenizer cuts them anyway.

>>> [len(part) for part in cut_runs("x" + "1" * 150)]
[91, 60]
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

BY_THREES = frozenset({"superbpe"})
"""Values of `tokenizer.ggml.pre` that cut a run in threes from its end. At each digit `std::regex` looks for that end,
so that the work grows with the square of the run: 20,000 digits take minutes."""
_PIECE = 60  # a multiple of three
_LONG_RUN = re.compile(rf"[0-9]{{{2 * _PIECE},}}")
_DIGITS = re.compile(r"[0-9]{2,}")


def cut_runs(text: str) -> Iterator[str]:
    """`text` in parts. The tokens of the parts are, one after the other, those of the text."""
    begin = 0
    for run in _LONG_RUN.finditer(text):
        for end in range(run.end() - (len(run[0]) // _PIECE - 1) * _PIECE, run.end(), _PIECE):
            yield text[begin:end]
            begin = end
    yield text[begin:]


def may_be_cut(texts: Iterable[str]) -> bool:
    """Whether none of these, the texts that a token is made of before anything is cut, could reach across a cut."""
    return not any(len(text) >= _PIECE or _DIGITS.fullmatch(text) for text in texts)
