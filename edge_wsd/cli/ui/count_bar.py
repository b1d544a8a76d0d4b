"""How far work has come, in a bar or in lines on stderr."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from edge_wsd.cli.ui.amounts import BYTES, amount_in_words, rate_in_words
from edge_wsd.cli.ui.rows import tell
from edge_wsd.cli.ui.terminal import one_line
from edge_wsd.progress import StageProgress

if TYPE_CHECKING:
    from rich.progress import Progress

_EVERY_S = 30.0
"""Between two lines where there is no terminal to draw a bar on."""


class Counter:
    """Counts for one task: in a bar, or without a terminal in a line now and then. `unit` as for the bar's tasks."""

    def __init__(
        self, title: str, bar: Progress, n_done: int, total: int | None, *, quiet: bool, unit: str = ""
    ) -> None:
        self._title, self._bar, self._total, self._unit = one_line(title), bar, total, unit
        self._tells = bar.disable and not quiet
        self._n_before, self.n_done = n_done, n_done
        self._began = self._told = time.monotonic()
        self._task = bar.add_task(self._title, total=total, completed=n_done, unit=unit)

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
        self.reach(self.n_done + 1, self._total)

    def reach(self, n_done: int, total: int | None) -> None:
        """So many are done, of so many."""
        self.n_done, self._total = n_done, total
        self._bar.update(self._task, completed=n_done, total=total)
        if self._tells and self.n_counted and time.monotonic() - self._told >= _EVERY_S:
            self._told = time.monotonic()
            tell(f"{self._title}: {self._state()}")

    def hide(self) -> None:
        """No bar any more, as another task has begun."""
        self._bar.update(self._task, visible=False)

    def _state(self) -> str:
        if not self._total:
            return f"{self.n_done} done, {self.rate}"
        left = timedelta(seconds=round((self._total - self.n_done) * self.seconds / self.n_counted))
        if self._unit == BYTES:
            return f"{100 * self.n_done / self._total:.0f}% done, {left} left"
        return f"{amount_in_words(self.n_done, self._total, between=' of ')} done, {self.rate}, {left} left"


@contextmanager
def counting(title: str, n_done: int, total: int | None, *, quiet: bool) -> Iterator[Counter]:
    """Counts from `n_done` to `total`, None where that is not known."""
    from edge_wsd.cli.ui.progress_bar import progress_bar

    with progress_bar(quiet) as bar:
        yield Counter(title, bar, n_done, total, quiet=quiet)


@contextmanager
def counting_stages(*, quiet: bool, unit: str = "") -> Iterator[StageProgress]:
    """What the block hands to work in stages: each has a counter of its own, which begins where the stage does."""
    from edge_wsd.cli.ui.progress_bar import progress_bar

    counters: dict[str, Counter] = {}
    with progress_bar(quiet) as bar:

        def progress(stage: str, done: int, total: int) -> None:
            if stage not in counters:
                for counter in counters.values():
                    counter.hide()
                counters[stage] = Counter(stage, bar, done, total, quiet=quiet, unit=unit)
            counters[stage].reach(done, total)

        yield progress
