"""Writes an answer while it comes into being, so that one sees which model wrote what.

>>> painter = Painter(sys.stdout, Style.MARKS)
>>> painter.write("Sure", "drafter"); painter.write(", use ls -lS", "base"); painter.end()
«Sure», use ls -lS
"""

from __future__ import annotations

import functools
import os
import shutil
import sys
from collections.abc import Callable
from enum import Enum
from typing import Any, TextIO, TypeVar

import click
from rich.cells import get_character_cell_size

from edge_wsd.cli.ui.guard import drawing_on
from edge_wsd.cli.ui.rows import prose_lines
from edge_wsd.cli.ui.terminal import colours_wanted, is_dumb, is_terminal, many_colours, neutralise, one_line
from edge_wsd.decoding.events import Source

F = TypeVar("F", bound=Callable[..., Any])

RESET, DIM, BOLD = "\x1b[0m", "\x1b[2m", "\x1b[1m"
_TAB_WIDTH = 8


class Style(Enum):
    """How the two models' words are told apart."""

    PLAIN = "plain"
    COLOURS = "colours"
    MARKS = "marks"


def colour_of(source: Source) -> str:
    """Orange and blue: told apart with any kind of colour vision, readable on black and on white."""
    if many_colours():
        return "\x1b[38;5;172m" if source == "drafter" else "\x1b[38;5;33m"
    return "\x1b[33m" if source == "drafter" else "\x1b[34m"


def style_options(function: F) -> F:
    """Adds `--marks` and `--color`; the command gets one argument, `style`."""

    @functools.wraps(function)
    def command(*, marks: bool, color: bool | None, **values: Any) -> Any:
        if color is False:
            os.environ["NO_COLOR"] = "1"  # for everything else that may write colours
        plain_or_coloured = Style.COLOURS if colours_wanted(sys.stdout, color) else Style.PLAIN
        return function(style=Style.MARKS if marks else plain_or_coloured, **values)

    decorated: Any = command
    decorated = click.option(
        "--color/--no-color", default=None, help="Colours for the two models.  [default: on a terminal]"
    )(decorated)
    return click.option(  # type: ignore[no-any-return]
        "--marks", is_flag=True, help="Put \u00abdrafted\u00bb text between marks instead of colours."
    )(decorated)


def legend(style: Style, n_columns: int) -> list[str]:
    """What explains the style, in lines of at most `n_columns`; none if there is nothing to explain."""
    if style is Style.COLOURS:
        begins = f"{colour_of('drafter')}\u25a0 drafter begins{RESET}"
        finishes = f"{colour_of('base')}\u25a0 base finishes{RESET}"
        return [f"{begins}  {finishes}"] if n_columns >= 33 else [begins, finishes]
    return ["\u00abdrafter begins\u00bb base finishes"] if style is Style.MARKS else []


def aside(line: str) -> None:
    """A line on stderr that is not the answer: faint and broken between words where that is possible."""
    if sys.stderr is None:
        return
    faint = colours_wanted(sys.stderr)
    n_columns = shutil.get_terminal_size().columns - 1 if is_terminal(sys.stderr) else None
    for part in prose_lines([one_line(line)], n_columns):
        drawing_on(sys.stderr).write(f"{DIM if faint else ''}{part}{RESET if faint else ''}\n")
    sys.stderr.flush()


class Painter:
    """Streams one answer to `out`.

    With `wrap`, lines are broken between words at the terminal's width. `raw` hands the text on as it is, for
    a file or a pipe; otherwise control characters are made visible.
    """

    def __init__(self, out: TextIO, style: Style, *, wrap: bool = False, raw: bool = False) -> None:
        self._out = drawing_on(out)
        self._style = style
        self._raw = raw
        # marks take space of their own, so their lines are left to the terminal
        self._wrap = wrap and style is not Style.MARKS and not is_dumb()
        self._screen_width = shutil.get_terminal_size().columns
        self._source: Source | None = None
        self._column = 0
        self._word: list[tuple[str, Source | None]] = []  # what has been written since the last space
        self._breaks = ""  # marks stand around text and not around the line breaks at its ends
        self._at_line_start = True

    def write(self, text: str, source: Source | None) -> None:
        """Shows the next piece of the answer at once; without a source it is in no colour."""
        if not text:
            return
        self._at_line_start = text.endswith("\n")
        self._follow_the_window()
        if not self._raw:
            text = neutralise(text)
        if self._style is Style.MARKS:
            text = self._marked(text, source)
            self._advance(text)
        elif not self._wrap:
            self._advance(text)
            text = self._change_to(source) + text
        else:
            pieces: list[str] = []
            for character in text:
                self._place(character, source, pieces)
            text = "".join(pieces)
        self._put(text)

    def end(self) -> None:
        """Ends the colours and the line."""
        self._put(self._change_to(None) + self._breaks + ("" if self._at_line_start else "\n"))

    def colour_again(self) -> None:
        """The colour is set anew: while the program was stopped somebody else wrote to the terminal."""
        if self._style is Style.COLOURS and self._source is not None:
            self._put(colour_of(self._source))

    def _put(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()

    def _follow_the_window(self) -> None:
        """Its width may have changed, and the terminal have broken the word being written: that stays where it is."""
        n_columns = shutil.get_terminal_size().columns
        if n_columns != self._screen_width:
            self._screen_width, self._word = n_columns, []

    @property
    def column(self) -> int:
        """Where the cursor is, if this is a terminal."""
        return self._column

    def _advance(self, text: str) -> None:
        """Follows the cursor where the terminal breaks the lines."""
        for character in text if not self._raw else "":
            width = get_character_cell_size(character)
            if character == "\n" or self._column + width > self._screen_width:
                self._column = 0
            self._column += width

    def _marked(self, text: str, source: Source | None) -> str:
        inside = text.strip("\n")
        if not inside:
            self._breaks += text
            return ""
        before, _, after = text.partition(inside)
        close = "\u00bb" if self._source == "drafter" != source else ""
        mark = "\u00ab" if source == "drafter" != self._source else ""
        before, self._breaks, self._source = self._breaks + before, after, source
        return f"{close}{before}{mark}{inside}"

    def _change_to(self, source: Source | None) -> str:
        before, self._source = self._source, source
        if before == source:
            return ""
        if self._style is Style.COLOURS:
            return RESET if source is None else colour_of(source)
        return "\u00bb" if self._style is Style.MARKS and before == "drafter" else ""

    def _place(self, character: str, source: Source | None, pieces: list[str]) -> None:
        width = _TAB_WIDTH - self._column % _TAB_WIDTH if character == "\t" else get_character_cell_size(character)
        if character == "\n":
            self._column, self._word = 0, []
        elif self._column + width >= self._screen_width:
            if character == " ":
                character, self._column, self._word = "\n", 0, []
            else:
                self._break_line(pieces)
                self._column += width
        else:
            self._column += width
        if character.isspace():
            self._word = []
        else:
            self._word.append((character, source))
        pieces += [self._change_to(source), character]

    def _break_line(self, pieces: list[str]) -> None:
        """Takes the word being written to the next line; one that fills the whole line is broken instead."""
        word = self._word
        width = sum(get_character_cell_size(character) for character, _ in word)
        if width >= self._column:
            word, width = [], 0
        if width:
            pieces.append(f"\x1b[{width}D\x1b[K")
        pieces.append("\n")
        for character, source in word:
            pieces += [self._change_to(source), character]
        self._column = width
