"""Checks of single values, for those who take options from a caller. Each raises `OptionError` in the same words."""

from __future__ import annotations

from edge_wsd.errors import OptionError

LARGEST = 2**31 - 1
"""llama.cpp counts in 32-bit numbers; what does not fit into one would silently become another number."""


def require(holds: bool, name: str, expected: str, value: object) -> None:
    if not holds:
        raise OptionError(f"{name} must be {expected}, not {shown(value)}")


def require_whole(name: str, value: object, low: int, high: int = LARGEST, *, or_none: bool = False) -> None:
    if value is None and or_none:
        return
    require(isinstance(value, int) and not isinstance(value, bool), name, "a whole number", value)
    assert isinstance(value, int)
    expected = f"at least {low}" if high == LARGEST and value < low else f"between {low} and {high}"
    require(low <= value <= high, name, expected, value)


def require_number(name: str, value: object) -> None:
    require(isinstance(value, int | float) and not isinstance(value, bool), name, "a real number", value)


def require_flag(name: str, value: object) -> None:
    require(isinstance(value, bool), name, "True or False", value)


def require_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    require(isinstance(value, str) and value in choices, name, f"one of {', '.join(choices)}", value)


def shown(value: object) -> str:
    """`value` for a message: never longer than a line, whatever it is."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no numbers of more than 4300 digits
        return f"a very long {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."


def half_character_at(text: str) -> int | None:
    """Where `text` holds a lone surrogate, which no file and no terminal can hold. None if nowhere."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return error.start
    return None
