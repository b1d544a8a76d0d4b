"""What people type that no task answers: hello and thanks, questions about the world, nonsense, pasted text."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Final

from demo_pair.names import file_name, stem, word
from demo_pair.noise import roughen, surround
from demo_pair.pasted import pasted
from demo_pair.wording import FRAMES, Form, Question

_WEIGHTS: Final[Mapping[str, float]] = {
    "greeting": 6, "thanks": 5, "goodbye": 1.5, "small words": 4, "about you": 4, "feelings": 3, "knowledge": 12,
    "writing": 9, "advice": 10, "maths": 7, "code": 6, "computing, but no task": 24, "files, but no task": 4,
    "languages": 8, "statements": 6,
}  # fmt: skip
_BARE = frozenset({"greeting", "thanks", "goodbye", "small words", "languages", "statements", "maths", "code"})
"""Kinds that are not put into a sentence."""
_SLOT = re.compile(r"\{(\w+)\}")
_IMPERATIVE = re.compile(r"(?i)(how|what|why|who|when|where|which|is|are|do|does|can|i|i'm|my|the|if|whats)\b")


@cache
def load_outside() -> dict[str, tuple[str, ...]]:
    """The inputs of outside.txt by kind, and the fillings of its slots by "{slot}"."""
    kinds: dict[str, list[str]] = {}
    for line in Path(__file__).with_name("outside.txt").read_text(encoding="utf-8").splitlines()[1:]:
        if line.startswith("# "):
            lines = kinds.setdefault(line[2:], [])
        elif line:
            lines.append(line)
    return {kind: tuple(lines) for kind, lines in kinds.items()}


def outside(rng: random.Random) -> tuple[Question, str]:
    """Something that no task answers, and what kind it is: a greeting, thanks, or anything else."""
    draw = rng.random()
    if draw < 0.08:
        return Question(pasted(rng), "outside", False), "other"
    if draw < 0.16:
        return Question(_nonsense(rng), "outside", False), "other"
    lists = load_outside()
    kind = rng.choices(tuple(_WEIGHTS), tuple(_WEIGHTS.values()))[0]
    text = _fill(rng.choice(lists[kind]), lists, rng)
    if kind not in _BARE:
        text = _framed(text, rng)
        text = surround(text, rng, 0.8)
    elif rng.random() < 0.06:
        text = surround(text, rng)
    elif rng.random() < 0.15:
        text = f"{text} {_fill(rng.choice(lists[rng.choice(tuple(_WEIGHTS))]), lists, rng)}"
        kind = "statements"
    if rng.random() < 0.35:
        text = text[0].upper() + text[1:]
    answered = {"greeting": "greeting", "thanks": "thanks", "goodbye": "thanks"}.get(kind, "other")
    return Question(roughen(text, (), rng), "outside", False), answered


def _framed(text: str, rng: random.Random) -> str:
    """An order such as "write a poem" sometimes becomes a question or a wish."""
    if _IMPERATIVE.match(text) or rng.random() < 0.5:
        return text + rng.choice(("", "", "?", "."))
    forms: Sequence[Form] = ("how", "want", "ask")
    return rng.choice(FRAMES[rng.choice(forms)]).format(text)


def _fill(text: str, lists: Mapping[str, Sequence[str]], rng: random.Random) -> str:
    def filling(match: re.Match[str]) -> str:
        slot = match.group(1)
        if slot == "file":
            return file_name(rng)
        if slot == "n":
            return str(rng.randrange(10 ** rng.randint(1, 4)))
        if rng.random() < 0.12:
            return word(rng)
        return rng.choice(lists["{" + slot + "}"])

    return _SLOT.sub(filling, text)


def _nonsense(rng: random.Random) -> str:
    """Letters, signs, numbers or words without sense."""
    lists = load_outside()
    kind = rng.randrange(7)
    n = rng.randint(1, 7)
    if kind == 0:
        text = " ".join(word(rng) for _ in range(n))
    elif kind == 1:
        letters = rng.choice(
            ("asdfghjkl;", "qwertyuiop", "abcdefghijklmnopqrstuvwxyz", "zxcvbnm,.", "jkl", "ha", "aeiou")
        )
        text = " ".join(
            "".join(rng.choice(letters) for _ in range(rng.randint(1, 9))) for _ in range(rng.randint(1, 4))
        )
    elif kind == 2:
        signs = rng.choice((".", "?", "!", "!?", "#$%&*", "-", "=", "123456789", ":)(", "<>", "/\\|", "0", "~^"))
        text = "".join(rng.choice(signs) for _ in range(rng.randint(1, 12)))
    elif kind == 3:
        slots = [slot for slot in lists if slot.startswith("{")]
        text = " ".join(rng.choice(lists[rng.choice(slots)]) for _ in range(n))
    elif kind == 4:
        text = " ".join(
            rng.choice((stem(rng), file_name(rng), str(rng.randrange(9999)))) for _ in range(rng.randint(1, 4))
        )
    elif kind == 5:
        numbers = ("".join(rng.choices("0123456789", k=rng.randint(1, 10))) for _ in range(rng.choice((1, 1, 2, 3))))
        text = rng.choice((" ", " ", ", ", "-")).join(numbers)
    else:
        ranges = (
            (0x4E00, 0x9FA5),
            (0x410, 0x44F),
            (0x3041, 0x3096),
            (0xAC00, 0xD7A3),
            (0x5D0, 0x5EA),
            (0x1F300, 0x1F64F),
        )
        first, last = rng.choice(ranges)
        text = "".join(chr(rng.randint(first, last)) for _ in range(rng.randint(1, 12)))
    return text + rng.choice(("", "", "", "?", ".", "!"))
