"""Where things stand in a TOML document: the lines of its keys, and the place of a syntax error.

>>> line_of(parse("a = 1\n[b]\nc = 2\n"), ["b", "c"])
3
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

_MARK = "# \ufdd0"  # a code point that no text holds


class TomlSyntaxError(ValueError):
    """`place` is `line 3` or `line 3, column 7`, both counted from 1."""

    def __init__(self, place: str, message: str) -> None:
        super().__init__(f"{place}: {message}")
        self.place = place
        self.message = message


def parse(text: str) -> TOMLDocument:
    """The document with its comments. Raises `TomlSyntaxError`."""
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    try:
        return tomlkit.parse(text)
    except RecursionError:
        raise TomlSyntaxError("line 1", "it is nested too deeply") from None
    except (TOMLKitError, ValueError) as error:
        message, line, column = str(error), getattr(error, "line", None), getattr(error, "col", None)
        if line is not None:
            message = message.removesuffix(f" at line {line} col {column}")
        if _is_duplicate(error):  # noticed only behind the table, or told without a place
            line, column = _first_line_that_fails(text), None
        for character, name in (("\\x00", "file"), ("\\n", "line")):
            message = message.replace(f"Unexpected character: '{character}'", f"unexpected end of the {name}")
        place = f"line {line or 1}" + (f", column {column + 1}" if column else "")
        message = message.rstrip(".")
        raise TomlSyntaxError(place, message if message[:2].isupper() else message[:1].lower() + message[1:]) from error


def _is_duplicate(error: Exception) -> bool:
    return "already exists" in str(error)


def _first_line_that_fails(text: str) -> int:
    """The line of the second of two equal keys: the fewest lines that hold both."""
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    lines = text.splitlines(keepends=True)
    good, bad = 0, len(lines)
    while bad - good > 1:
        middle = (good + bad) // 2
        try:
            tomlkit.parse("".join(lines[:middle]))
            good = middle
        except (TOMLKitError, ValueError) as error:
            good, bad = (good, middle) if _is_duplicate(error) else (middle, bad)
    return bad


def line_of(document: TOMLDocument, keys: Sequence[str]) -> int:
    """The line, from 1, of the value or table that these keys lead to; of what is in it, if it has no line itself."""
    from tomlkit.items import AoT

    item: Any = document
    for key in keys:
        item = item.item(key) if hasattr(item, "item") else item[key]
    while isinstance(item, AoT):
        item = item[0]
    line = _marked_line(document, item)
    if line is None and isinstance(item, dict) and item:  # a table that only its parts' names imply
        return line_of(document, [*keys, next(iter(item))])
    return line or 1


def _marked_line(document: TOMLDocument, item: Any) -> int | None:
    """Gives the item a comment for a moment, and looks where it comes out."""
    trivia = getattr(item, "trivia", None)
    if trivia is None:
        return None
    comment, trivia.comment = trivia.comment, _MARK
    try:
        before, found, _ = document.as_string().partition(_MARK)
    finally:
        trivia.comment = comment
    if not found:
        return None
    own_lines = 0 if isinstance(item, dict) else item.as_string().count("\n")
    return before.count("\n") + 1 - own_lines
