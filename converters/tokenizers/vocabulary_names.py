"""llama.cpp tells by a model's name whether its special tokens absorb white space behind them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

_MARKS = ("phi-3", "phi3")
# llama.cpp refuses a file of that name without these tokens, and lets all but the first keep what follows.
_NEEDED = ("</s>", "<unk>", "<s>", "<|endoftext|>")
_NAME = "general.name"


def absorbs_as_phi3(texts: Collection[str], special: Iterable[str], absorbing: Iterable[str]) -> bool:
    """Whether exactly the tokens in `absorbing` take white space along that do so in a file called Phi-3.

    `texts` are those of all tokens, `special` those of special ones.
    """
    return all(text in texts for text in _NEEDED) and set(absorbing) == set(special) - set(_NEEDED[1:])


def set_name(writer: Any, absorbs: bool) -> None:
    """Makes the name in `writer` say whether special tokens take the white space behind them along."""
    stored = writer.kv_data[0].pop(_NAME, None)
    name = str(stored.value) if stored else ""
    named = any(mark in name.lower() for mark in _MARKS)
    if absorbs and not named:
        name = f"{name} (Phi-3)".strip()
    elif named and not absorbs:
        name = _unmarked(name)
    if name:
        writer.add_name(name)


def _unmarked(name: str) -> str:
    for mark in _MARKS:
        while (at := name.lower().find(mark)) >= 0:
            name = f"{name[: at + 3]} {name[at + len(mark) - 1 :]}"
    return name
