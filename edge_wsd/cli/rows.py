"""Text in as many columns as there are: lines broken between words, and names beside their values."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence

from rich.cells import cell_len, chop_cells

from edge_wsd.cli.terminal import neutralise

_LEAST_ROOM = 28
"""Columns for values beside their names; with less they go below."""
_INDENT = "  "


def broken(text: str, room: int) -> list[str]:
    """Lines of at most `room` columns, broken between words; only a word that is wider is broken inside."""
    room = max(room, 2)
    if text.isascii():
        return textwrap.wrap(text, room, break_on_hyphens=False) or [""]
    lines = [""]
    for word in text.split(" "):
        joined = f"{lines[-1]} {word}" if lines[-1] else word
        if cell_len(joined) <= room:
            lines[-1] = joined
        else:
            pieces = chop_cells(word, room)
            lines = [*lines, *pieces] if lines[-1] else pieces
    return lines


def row_lines(
    rows: Sequence[tuple[str, str]], room: int, *, bold: Callable[[str], str] = str, indent: str = _INDENT
) -> Iterator[str]:
    """Each name with its value, in lines of at most `room` columns."""
    width = max(cell_len(neutralise(name)) for name, _ in rows)
    beside = room - len(indent) - width - 2
    for name, value in ((neutralise(name), neutralise(value)) for name, value in rows):
        if beside >= _LEAST_ROOM:
            first, *more = _paragraphs(value, beside)
            gap = " " * (width - cell_len(name) + 2)
            yield f"{indent}{bold(name)}{gap}{first}".rstrip()
            yield from (f"{indent}{' ' * (width + 2)}{line}" for line in more)
        else:
            yield from (f"{indent}{bold(line)}" for line in broken(name, room - len(indent)))
            if value:
                below = indent + _INDENT
                yield from (f"{below}{line}" for line in _paragraphs(value, room - len(below)))


def _paragraphs(text: str, room: int) -> list[str]:
    return [line for paragraph in text.split("\n") for line in broken(paragraph, room)]
