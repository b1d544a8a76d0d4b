"""Long work on a file, with a bar of bytes, that Ctrl-C stops."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from edge_wsd.cli.ui.amounts import BYTES
from edge_wsd.cli.ui.count_bar import counting_stages
from edge_wsd.cli.ui.interruptible import call
from edge_wsd.errors import Cancelled
from edge_wsd.progress import Progress

T = TypeVar("T")


def with_bar(title: str, work: Callable[[Progress], T], *, quiet: bool) -> T:
    """The result of `work(progress)`, which runs in a thread; `progress(done, total)` counts bytes.

    After Ctrl-C the next call of `progress` raises `Cancelled` into the work.
    """
    stopped: list[bool] = []
    with counting_stages(quiet=quiet, unit=BYTES) as count:

        def progress(done: int, total: int) -> None:
            if stopped:
                raise Cancelled("the work was stopped")
            count(title, done, total)

        return call(lambda: work(progress), cancel=lambda: stopped.append(True))
