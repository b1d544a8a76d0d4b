"""The one progress bar: what is being done, how much of it is done, how fast, and how long it will take."""

from __future__ import annotations

import sys

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Column
from rich.text import Text

from edge_wsd.cli.ui.amounts import BYTES, amount_in_words, rate_in_words
from edge_wsd.cli.ui.consoles import console_on
from edge_wsd.cli.ui.guard import Guarded
from edge_wsd.cli.ui.terminal import can_draw, is_terminal


def progress_bar(quiet: bool) -> Progress:
    """A bar on stderr for each task, gone when it is done; nothing without a terminal that can draw.

    A task whose field `unit` is `BYTES` counts those, others count things.
    """
    hidden = quiet or not can_draw(sys.stderr)
    columns = (
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
        BarColumn(),
        _Amount(),
        _Rate(),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    return _Bar(*columns, console=console_on(sys.stderr), disable=hidden, transient=True)


class _Amount(DownloadColumn):
    def render(self, task: Task) -> Text:
        if _counts_bytes(task):
            return super().render(task)
        return Text(amount_in_words(task.completed, task.total))


class _Rate(ProgressColumn):
    def __init__(self) -> None:
        super().__init__()
        self._of_bytes = TransferSpeedColumn()

    def render(self, task: Task) -> Text:
        if _counts_bytes(task):
            return self._of_bytes.render(task)
        return Text(rate_in_words(task.finished_speed or task.speed))


def _counts_bytes(task: Task) -> bool:
    return bool(task.fields.get("unit") == BYTES)


class _Bar(Progress):
    """While it is shown, rich puts streams of its own in the place of stdout and stderr; they are guarded as well."""

    def start(self) -> None:
        super().start()
        if not self.disable:
            for name in ("stdout", "stderr"):
                stream = getattr(sys, name)
                if is_terminal(stream) and not isinstance(stream, Guarded):
                    setattr(sys, name, Guarded(stream))
