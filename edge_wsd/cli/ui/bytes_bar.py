"""Long work on a file, with a bar of bytes and rate, that Ctrl-C stops."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from edge_wsd.cli.ui.interruptible import call
from edge_wsd.cli.ui.terminal import one_line
from edge_wsd.errors import Cancelled

if TYPE_CHECKING:
    from rich.progress import Progress, Task

T = TypeVar("T")


def with_bar(title: str, work: Callable[[Callable[[int, int], None]], T], *, quiet: bool) -> T:
    """The result of `work(progress)`, which runs in a thread; `progress(done, total)` counts bytes.

    After Ctrl-C the next call of `progress` raises `Cancelled` into the work.
    """
    stopped: list[bool] = []
    with bytes_bar(quiet) as bar:
        task = bar.add_task(one_line(title), total=None)

        def progress(done_bytes: int, total_bytes: int) -> None:
            if stopped:
                raise Cancelled("the work was stopped")
            bar.update(task, completed=done_bytes, total=total_bytes or None)

        return call(lambda: work(progress), cancel=lambda: stopped.append(True))


def bytes_bar(quiet: bool) -> Progress:
    """A bar of bytes, their rate and the time left; nothing without a terminal that can draw.

    A task whose field `unit` is something else is counted without a rate, as texts are.
    """
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
    from rich.progress import TransferSpeedColumn as Rate
    from rich.table import Column
    from rich.text import Text

    from edge_wsd.cli.ui.consoles import progress_bar

    class Amount(DownloadColumn):
        def render(self, task: Task) -> Text:
            if _counts_bytes(task):
                return super().render(task)
            return Text(f"{task.completed:.0f}/{task.total:.0f}" if task.total is not None else "")

    class Speed(Rate):
        def render(self, task: Task) -> Text:
            return super().render(task) if _counts_bytes(task) else Text("")

    columns = (
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
        BarColumn(),
        Amount(),
        Speed(),
        TimeRemainingColumn(compact=True),
    )
    return progress_bar(*columns, quiet=quiet)


def _counts_bytes(task: Task) -> bool:
    return bool(task.fields.get("unit", "bytes") == "bytes")
