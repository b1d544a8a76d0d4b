"""What `rich` draws on: a stream, and as much of colour and width as it can show."""

from __future__ import annotations

import sys
from typing import Any, TextIO

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from edge_wsd.cli.ui.guard import drawing_on
from edge_wsd.cli.ui.terminal import colours_wanted, is_terminal


def table_console(unseen_width: int) -> Console:
    """Stdout, `unseen_width` columns wide where it is no terminal. Text is taken as it is, so neutralise it."""
    return console_on(sys.stdout, None if is_terminal(sys.stdout) else unseen_width)


def fits(console: Console, table: Table) -> bool:
    """Whether the console is wide enough for a table as it would like to be."""
    unbounded = console.options.update(max_width=10_000)
    return Measurement.get(console, unbounded, table).maximum <= console.width


def console_on(stream: TextIO, width: int | None = None) -> Console:
    """`stream`, `width` columns wide, None for as many as it has. Text is taken as it is."""
    plain: dict[str, Any] = {} if colours_wanted(stream) else {"color_system": None}
    return Console(file=drawing_on(stream), width=width, markup=False, emoji=False, highlight=False, **plain)
