"""Text in as many columns as there are: lines broken between words, and names beside their values."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import TextIO

import click
from rich.cells import cell_len, chop_cells

from edge_wsd.cli.ui.terminal import is_terminal, neutralise, one_line

_FEWEST_COLUMNS = 28
"""Columns for values beside their names; with less they go below."""
_INDENT = "  "


def broken(text: str, n_columns: int) -> list[str]:
    """Lines of at most `n_columns`, broken between words; only a word that is wider is broken inside."""
    n_columns = max(n_columns, 2)
    if text.isascii():
        return textwrap.wrap(text, n_columns, break_on_hyphens=False) or [""]
    lines = [""]
    for word in text.split(" "):
        joined = f"{lines[-1]} {word}" if lines[-1] else word
        if cell_len(joined) <= n_columns:
            lines[-1] = joined
        else:
            pieces = chop_cells(word, n_columns)
            lines = [*lines, *pieces] if lines[-1] else pieces
    return lines


def row_lines(
    rows: Sequence[tuple[str, str]], n_columns: int, *, bold: Callable[[str], str] = str, indent: str = _INDENT
) -> Iterator[str]:
    """Each name with its value, in lines of at most `n_columns`."""
    width = max(cell_len(neutralise(name)) for name, _ in rows)
    beside = n_columns - len(indent) - width - 2
    longest = max(cell_len(line) for _, value in rows for line in neutralise(value).split("\n"))
    for name, value in ((neutralise(name), neutralise(value)) for name, value in rows):
        if beside >= min(_FEWEST_COLUMNS, longest):
            first, *more = _paragraphs(value, beside)
            gap = " " * (width - cell_len(name) + 2)
            yield f"{indent}{bold(name)}{gap}{first}".rstrip()
            yield from (f"{indent}{' ' * (width + 2)}{line}" for line in more)
        else:
            yield from (f"{indent}{bold(line)}" for line in broken(name, n_columns - len(indent)))
            if value:
                below = indent + _INDENT
                yield from (f"{below}{line}" for line in _paragraphs(value, n_columns - len(below)))


def table_lines(
    rows: Sequence[tuple[str, ...]], n_columns: int | None = None, *, words: Collection[int] = (0,)
) -> list[str]:
    """A table under its first row of headings: `words` are the columns that begin at the left.

    Where it is wider than `n_columns`, each row becomes a block: its first cell, and below it the others by their
    headings.
    """
    rows = [tuple(map(neutralise, row)) for row in rows]
    widths = [max(cell_len(line) for row in rows for line in row[i].split("\n")) for i in range(len(rows[0]))]
    if n_columns is not None and sum(widths) + 2 * (len(widths) - 1) > n_columns:
        return [line for row in rows[1:] for line in _block(rows[0], row, n_columns)]
    return ["  ".join(_padded(*each) for each in _cells(row, widths, words)).rstrip() for row in rows]


def prose_lines(lines: Iterable[str], n_columns: int | None) -> list[str]:
    """Sentences, broken between words where they are wider than `n_columns`."""
    return [part for line in lines for part in (broken(line, n_columns) if n_columns is not None else [line])]


def hanging_lines(lines: Iterable[str], n_columns: int | None) -> list[str]:
    """The same, with what does not fit below the rest, a little further in."""
    return [part for line in lines for part in _hanging(line, n_columns)]


def _hanging(line: str, n_columns: int | None) -> list[str]:
    if n_columns is None or cell_len(line) <= n_columns:
        return [line]
    indent = line[: len(line) - len(line.lstrip(" "))]
    first, *more = broken(line.strip(), n_columns - len(indent) - len(_INDENT))
    return [indent + first, *(f"{indent}{_INDENT}{part}" for part in more)]


def named_lines(rows: Sequence[tuple[str, str]], n_columns: int | None, *, width: int) -> list[str]:
    """Each name with its value, in one line; names take `width` columns where lines may be as long as they are."""
    rows = [(name, one_line(value)) for name, value in rows]
    return (
        [f"{name:{width}}{value}" for name, value in rows]
        if n_columns is None
        else [*row_lines(rows, n_columns, indent="")]
    )


def command_lines(command: str, n_columns: int | None) -> list[str]:
    """A command of a shell, which stays one when it is copied from several lines."""
    if n_columns is None:
        return [command]
    indent = command[: len(command) - len(command.lstrip(" "))]
    lines = textwrap.wrap(
        command.strip(),
        max(n_columns - 2, 2),
        initial_indent=indent,
        subsequent_indent=indent + _INDENT,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [*(f"{line} \\" for line in lines[:-1]), lines[-1]]


def columns_of_stdout() -> int | None:
    """Columns of the terminal; None where lines may be as long as they are."""
    return _columns_of(sys.stdout)


def tell(*lines: str) -> None:
    """Sentences on stderr, each in one line or, on a narrow terminal, broken between words."""
    for line in hanging_lines(map(one_line, lines), _columns_of(sys.stderr)):
        click.echo(line, err=True)


def _columns_of(stream: TextIO | None) -> int | None:
    return shutil.get_terminal_size().columns - 1 if is_terminal(stream) else None


def _cells(row: tuple[str, ...], widths: Sequence[int], words: Collection[int]) -> Iterator[tuple[str, int, bool]]:
    for column, (cell, width) in enumerate(zip(row, widths, strict=True)):
        yield cell, width, column in words


def _padded(cell: str, width: int, left: bool) -> str:
    gap = " " * (width - cell_len(cell))
    return cell + gap if left else gap + cell


def _block(headings: tuple[str, ...], row: tuple[str, ...], n_columns: int) -> Iterator[str]:
    yield from broken(row[0], n_columns) if row[0] else ()
    named = [(heading, cell) for heading, cell in zip(headings[1:], row[1:], strict=True) if cell]
    yield from row_lines(named, n_columns)


def _paragraphs(text: str, n_columns: int) -> list[str]:
    return [line for paragraph in text.split("\n") for line in broken(paragraph, n_columns)]
