"""Long work on a file, with a bar of bytes and rate, that Ctrl-C stops."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from edge_wsd.cli.interruptible import call
from edge_wsd.cli.terminal import one_line
from edge_wsd.errors import Cancelled

if TYPE_CHECKING:
    from rich.progress import Progress

T = TypeVar("T")


def with_bar(title: str, work: Callable[[Callable[[int, int], None]], T], *, quiet: bool) -> T:
    """The result of `work(progress)`, which runs in a thread; `progress(done, total)` counts bytes.

    After Ctrl-C the next call of `progress` raises `Cancelled` into the work.
    """
    stopped: list[bool] = []
    with _bar(quiet) as bar:
        task = bar.add_task(one_line(title), total=None)

        def progress(done_bytes: int, total_bytes: int) -> None:
            if stopped:
                raise Cancelled("the work was stopped")
            bar.update(task, completed=done_bytes, total=total_bytes)

        return call(lambda: work(progress), cancel=lambda: stopped.append(True))


def _bar(quiet: bool) -> Progress:
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
    from rich.progress import TransferSpeedColumn as Rate

    from edge_wsd.cli.consoles import progress_bar

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), Rate())
    return progress_bar(*columns, TimeRemainingColumn(), quiet=quiet)
