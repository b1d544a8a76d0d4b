"""What `rich` draws on: tables on stdout, bars on stderr, as much of them as the stream can show."""

from __future__ import annotations

import sys
from typing import Any, TextIO

from rich.console import Console
from rich.measure import Measurement
from rich.progress import Progress, ProgressColumn
from rich.table import Table

from edge_wsd.cli.ui.guard import Guarded, drawing_on
from edge_wsd.cli.ui.terminal import can_draw, colours_wanted, is_terminal


def table_console(unseen_width: int) -> Console:
    """Stdout, `unseen_width` columns wide where it is no terminal. Text is taken as it is, so neutralise it."""
    return _console(sys.stdout, None if is_terminal(sys.stdout) else unseen_width)


def fits(console: Console, table: Table) -> bool:
    """Whether the console is wide enough for a table as it would like to be."""
    unbounded = console.options.update(max_width=10_000)
    return Measurement.get(console, unbounded, table).maximum <= console.width


def progress_bar(*columns: ProgressColumn, quiet: bool) -> Progress:
    """A bar on stderr that is gone when it is done. Nothing without a terminal that can draw."""
    hidden = quiet or not can_draw(sys.stderr)
    return _Bar(*columns, console=_console(sys.stderr), disable=hidden, transient=True)


def _console(stream: TextIO, width: int | None = None) -> Console:
    plain: dict[str, Any] = {} if colours_wanted(stream) else {"color_system": None}
    return Console(file=drawing_on(stream), width=width, markup=False, emoji=False, highlight=False, **plain)


class _Bar(Progress):
    """While it is shown, rich puts streams of its own in the place of stdout and stderr; they are guarded as well."""

    def start(self) -> None:
        super().start()
        if not self.disable:
            for name in ("stdout", "stderr"):
                stream = getattr(sys, name)
                if is_terminal(stream) and not isinstance(stream, Guarded):
                    setattr(sys, name, Guarded(stream))
