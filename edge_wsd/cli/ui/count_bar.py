"""How many of a number of things are done, how fast it goes, and how long it will take: on stderr."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from edge_wsd.cli.ui.rows import tell
from edge_wsd.cli.ui.terminal import one_line

if TYPE_CHECKING:
    from rich.progress import Progress

_EVERY_S = 30.0
"""Between two lines where there is no terminal to draw a bar on."""


def count_bar(quiet: bool) -> Progress:
    """A bar for each task; nothing without a terminal that can draw."""
    from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn, TimeElapsedColumn
    from rich.progress import TimeRemainingColumn as Left
    from rich.text import Text

    from edge_wsd.cli.ui.consoles import progress_bar

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(rate_in_words(task.finished_speed or task.speed))

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeElapsedColumn(),
        Left(),
        TextColumn("left"),
    )
    return progress_bar(*columns, quiet=quiet)


def rate_in_words(per_second: float | None) -> str:
    """`12.5/s`, `3.1/min`; empty if it is not known."""
    if not per_second:
        return ""
    return f"{per_second:.1f}/s" if per_second >= 1 else f"{60 * per_second:.1f}/min"


class Counter:
    """Counts for one task: in a bar, or without a terminal in a line now and then."""

    def __init__(self, title: str, bar: Progress, n_done: int, total: int | None, *, quiet: bool) -> None:
        self._title, self._bar, self._total = title, bar, total
        self._tells = bar.disable and not quiet
        self._n_before, self.n_done = n_done, n_done
        self._began = self._told = time.monotonic()
        self._task = bar.add_task(one_line(title), total=total, completed=n_done)

    @property
    def n_counted(self) -> int:
        """Since it began."""
        return self.n_done - self._n_before

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    @property
    def rate(self) -> str:
        """How fast it went, in words."""
        return rate_in_words(self.n_counted / max(self.seconds, 1e-9))

    def count(self) -> None:
        """One more is done."""
        self.n_done += 1
        self._bar.update(self._task, completed=self.n_done)
        if self._tells and time.monotonic() - self._told >= _EVERY_S:
            self._told = time.monotonic()
            tell(f"{self._title}: {self._state()}")

    def _state(self) -> str:
        if self._total is None:
            return f"{self.n_done} done, {self.rate}"
        left = (self._total - self.n_done) * self.seconds / self.n_counted
        return f"{self.n_done} of {self._total} done, {self.rate}, {timedelta(seconds=round(left))} left"


@contextmanager
def counting(title: str, n_done: int, total: int | None, *, quiet: bool) -> Iterator[Counter]:
    """Counts from `n_done` to `total`, None where that is not known."""
    with count_bar(quiet) as bar:
        yield Counter(title, bar, n_done, total, quiet=quiet)
