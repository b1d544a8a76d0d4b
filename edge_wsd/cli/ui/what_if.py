"""What other settings would have done, as a table: thresholds down, windows across."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from edge_wsd.calibration.settings import SettingGrid, WindowSetting
from edge_wsd.cli.ui.rows import broken, table_lines


def grid_lines(
    title: str, grid: SettingGrid, cell: Callable[[WindowSetting], str], n_columns: int | None, *, ignore_repeated: bool
) -> Iterator[str]:
    """The table under its title."""
    yield from broken(title, n_columns) if n_columns is not None else [title]
    rows = [("threshold", *(f"w={window}" for window in grid.windows))]
    for threshold in grid.thresholds:
        cells = (cell(WindowSetting(threshold, window, ignore_repeated)) for window in grid.windows)
        rows.append((f"{threshold:g}", *cells))
    yield from table_lines(rows, n_columns, words=())
