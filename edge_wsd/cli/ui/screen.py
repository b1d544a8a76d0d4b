"""Everything `chat` draws, behind a few verbs, so that the conversation is only logic."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from typing import TextIO

from edge_wsd.authorship import Authorship
from edge_wsd.cli.ui.guard import drawing_on
from edge_wsd.cli.ui.paint import BOLD, DIM, RESET, Painter, Style, legend
from edge_wsd.cli.ui.rows import broken, row_lines
from edge_wsd.cli.ui.status import status_lines
from edge_wsd.cli.ui.terminal import colours_wanted, is_terminal, neutralise, one_line
from edge_wsd.cli.ui.transcript import said_lines, show_transcript
from edge_wsd.decoding.events import Reply, Token
from edge_wsd.decoding.options import Options
from edge_wsd.prompts.messages import Message
from edge_wsd.redaction import redacted

_RED = "\x1b[31m"


class Screen:
    """A terminal or a pipe. Answers go to `out`; what is said about them goes to `aside`."""

    def __init__(self, out: TextIO, aside: TextIO, style: Style, *, wrap: bool, raw: bool, dims: bool) -> None:
        self._out = out
        self._aside = aside
        self._style = style
        self._wrap = wrap
        self._raw = raw
        self._dims = dims
        self._painter: Painter | None = None

    def greet(self, lines: Sequence[str]) -> None:
        """The first lines, with the legend below them."""
        for number, text in enumerate(lines):
            for line in self._lines(neutralise(text)):
                self._say(line, "" if number == 0 else DIM)
        for line in legend(self._style, self._n_columns()):
            self._say(line)
        if self._wrap and self._style is Style.PLAIN:
            self.note("without colours, --marks shows which model wrote what")
        self.space()

    def token(self, token: Token) -> None:
        """The next piece of an answer."""
        if self._painter is None:
            self._painter = Painter(self._out, self._style, wrap=self._wrap, raw=self._raw)
        self._painter.write(token.text, token.source)

    def end(self) -> None:
        """Ends the answer's line and colours, also after an error."""
        if self._painter is not None:
            self._painter.end()
            self._painter = None

    @property
    def column(self) -> int:
        """Where the cursor is in the answer that is being written."""
        return self._painter.column if self._painter is not None else 0

    def colour_again(self) -> None:
        """Goes on in the answer's colour after something else was on the screen."""
        if self._painter is not None:
            self._painter.colour_again()

    def status(self, reply: Reply, options: Options) -> None:
        """What the finished answer tells about itself."""
        for line in status_lines(reply, options, shutil.get_terminal_size().columns - 1):
            self._say(line, DIM)

    def note(self, text: str) -> None:
        """A short remark."""
        for line in self._lines(one_line(text)):
            self._say(line, DIM)

    def error(self, text: str) -> None:
        """One line about what went wrong."""
        for line in self._lines(one_line(redacted(text))):
            self._say(line, _RED)

    def heading(self, text: str) -> None:
        """A line above an answer."""
        for line in self._lines(one_line(text)):
            self._say(line, BOLD)

    def said(self, text: str) -> None:
        """A message of the user's that was not typed here."""
        for line in said_lines(text, self._n_columns() if self._wrap else None):
            self._say(line, DIM)

    def transcript(self, messages: Sequence[Message], written: Sequence[Authorship | None]) -> None:
        """A whole conversation, in the two models' colours."""
        n_columns = self._n_columns() if self._wrap else None
        show_transcript(self._aside, messages, written, self._style, n_columns=n_columns, bold=self._bold)

    def table(self, rows: Sequence[tuple[str, str]]) -> None:
        """Names and values: the values aligned, or each below its name where there is no space for that."""
        for line in row_lines(rows, self._n_columns(), bold=self._bold):
            self._say(line)

    def space(self) -> None:
        """An empty line where a person looks; nothing in a pipe."""
        if self._wrap:
            self._say("")

    def _n_columns(self) -> int:
        return shutil.get_terminal_size().columns - 1

    def _lines(self, text: str) -> list[str]:
        """Lines that fit the terminal; in a pipe a remark stays one line."""
        return broken(text, self._n_columns()) if self._wrap else [text]

    def _bold(self, text: str) -> str:
        return f"{BOLD}{text}{RESET}" if self._dims else text

    def _say(self, line: str, look: str = "") -> None:
        self._aside.write(f"{look}{line}{RESET}\n" if look and self._dims else f"{line}\n")
        self._aside.flush()


def screen_for(style: Style, *, interactive: bool) -> Screen:
    """This process's screen: with a person everything is on stdout, else what is said aside is on stderr."""
    out, aside = sys.stdout, drawing_on(sys.stdout if interactive else sys.stderr)
    return Screen(out, aside, style, wrap=interactive, raw=not is_terminal(out), dims=colours_wanted(aside))
