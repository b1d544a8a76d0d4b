"""What other settings would have done, as a table: thresholds down, windows across."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from edge_wsd.calibration.nudged import NudgedDraft, NudgeRow
from edge_wsd.calibration.settings import SettingGrid, WindowSetting
from edge_wsd.calibration.sweep import SettingRow
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


def nudge_lines(nudges: Sequence[tuple[float, NudgedDraft]], n_columns: int | None) -> Iterator[str]:
    """What is known of the rule `nudge`: how far it would have written the draft, and who."""
    n = nudges[0][1].n_draft
    title = f"With --rule nudge the text is the draft's until the base chooses another word; known, of {n} tokens:"
    yield from broken(title, n_columns) if n_columns is not None else [title]
    rows = [("nudge-below", "known", "drafted", "words")]
    rows += [(f"{value:g}", str(one.n_known), str(one.n_drafted), str(one.n_words)) for value, one in nudges]
    yield from table_lines(rows, n_columns, words=())


def sweep_lines(
    rows: Sequence[SettingRow], grid: SettingGrid, recommended: WindowSetting | None, n_columns: int | None
) -> Iterator[str]:
    """What every setting did over many drafts, in a table for each figure; the recommended one has a star."""
    found = {row.setting: row for row in rows}
    shown: tuple[tuple[str, bool, Callable[[SettingRow], str]], ...] = (
        ("Drafts in which the base takes over, %:", False, _confident),
        ("Drafted tokens up to the switch, median:", False, _tokens),
        ("Share of the draft that is kept, median, %:", False, lambda row: f"{100 * row.drafted_share:.0f}"),
        ("Without repeated tokens: drafts in which the base takes over, %:", True, _confident),
        ("Without repeated tokens: drafted tokens up to the switch, median:", True, _tokens),
    )
    for title, ignore_repeated, figure in shown:

        def cell(setting: WindowSetting, figure: Callable[[SettingRow], str] = figure) -> str:
            return figure(found[setting]) + ("*" if setting == recommended else " ")

        yield ""
        yield from grid_lines(title, grid, cell, n_columns, ignore_repeated=ignore_repeated)


def _confident(row: SettingRow) -> str:
    return f"{100 * row.confident_share:.0f}"


def _tokens(row: SettingRow) -> str:
    return "-" if row.switch_tokens is None else f"{row.switch_tokens:g}"


def nudge_row_lines(rows: Sequence[NudgeRow], n_columns: int | None) -> Iterator[str]:
    """The same of the rule `nudge`, as far as anything is known."""
    title = "With --rule nudge, as far as its text is known to be the draft's:"
    yield from broken(title, n_columns) if n_columns is not None else [title]
    cells = [("nudge-below", "known %", "drafted %", "whole")]
    for row in rows:
        drafted = "-" if row.drafted_share is None else f"{100 * row.drafted_share:.0f}"
        cells.append((f"{row.nudge_below:g}", f"{100 * row.known_share:.0f}", drafted, f"{row.n_whole} of {row.n}"))
    yield from table_lines(cells, n_columns, words=())
