"""Pictures: the signal of one answer, and what a sweep over many has found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from textwrap import shorten
from typing import TYPE_CHECKING

from edge_wsd.calibration.draft_signal import DraftSignal
from edge_wsd.calibration.settings import SettingGrid, WindowSetting
from edge_wsd.calibration.sweep import SettingRow
from edge_wsd.units import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIGNAL_SIZE = (12.0, 6.4)
SWEEP_SIZE = (12.0, 4.8)
"""Inches."""
_DRAFTER, _BASE = "#d78700", "#0087ff"  # as the terminal has them
_MARKERS = "osD^v"
_MOST_NAMED = 90  # tokens whose texts have space below the axis
_LONGEST_TITLE = 140


def draw_signal(figure: Figure, signal: DraftSignal, grid: SettingGrid, title: str = "") -> None:
    """Probabilities and confidence over the whole draft; below, where the settings of `grid` would have switched."""
    if title:
        figure.suptitle(_plain(shorten(title, _LONGEST_TITLE, placeholder=" ...")), fontsize=10)
    above, below = figure.subplots(2, 1, height_ratios=(3, 2), sharex=True)
    _draw_curves(above, signal)
    _draw_others(below, signal, grid)


def _draw_curves(axes: Axes, signal: DraftSignal) -> None:
    draft, setting = signal.draft, signal.setting
    numbers = range(1, len(draft) + 1)
    known = [(n, value) for n, value in zip(numbers, signal.confidences, strict=True) if value is not None]
    axes.plot(
        numbers, signal.probabilities, "x", color=_DRAFTER, markersize=5, label="the base's probability of the token"
    )
    repeated = [n for n in numbers if draft.repeated[n - 1]]
    if repeated:
        places = [signal.probabilities[n - 1] for n in repeated]
        axes.plot(repeated, places, "s", color="grey", fillstyle="none", markersize=8, label="repeated token")
    axes.plot(
        [n for n, _ in known],
        [value for _, value in known],
        "o-",
        color=_BASE,
        markersize=3,
        label=f"confidence over {counted(setting.window, 'tokens')}",
    )
    axes.axhline(setting.threshold, color="grey", linestyle="--", label=f"threshold {setting.threshold:g}")
    if signal.switch is not None:
        at = signal.switch.index + 1.5
        place = counted(signal.switch.index + 1, "tokens")
        axes.axvline(at, color="black", label=f"switch after {place} ({_reason(signal)})")
        if signal.switch.index + 1 < len(draft):
            axes.axvspan(at, len(draft) + 0.5, color="grey", alpha=0.12, label="draft behind the switch, not used")
    axes.set_ylim(-0.05, 1.05)
    axes.set_xlim(0.2, len(draft) + 0.8)  # so that a switch at either end is seen
    axes.grid(alpha=0.25)
    _legend_above(axes, n_columns=3)


def _legend_above(axes: Axes, *, n_columns: int) -> None:
    """Where no data are, wherever they are."""
    axes.legend(fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=n_columns, frameon=False)


def _plain(text: str) -> str:
    """Without what matplotlib takes for a formula."""
    return text.replace("$", r"\$")


def _reason(signal: DraftSignal) -> str:
    assert signal.switch is not None
    return signal.switch.reason.replace("_", " ")


def _draw_others(axes: Axes, signal: DraftSignal, grid: SettingGrid) -> None:
    """A row for each threshold, with a mark for each window."""
    own: list[tuple[int, float]] = []
    for window_number, window in enumerate(grid.windows):
        points = []
        for row, threshold in enumerate(grid.thresholds):
            switch = signal.draft.switch(WindowSetting(threshold, window, signal.setting.ignore_repeated))
            if switch is not None and switch.reason == "confident":
                lift = 0.3 - 0.6 * window_number / max(len(grid.windows) - 1, 1)
                points.append((switch.index + 1, row + lift))
                if (threshold, window) == (signal.setting.threshold, signal.setting.window):
                    own = points[-1:]
        axes.plot(
            [x for x, _ in points],
            [y for _, y in points],
            _MARKERS[window_number % len(_MARKERS)],
            color=f"C{window_number}",
            markersize=4,
            linestyle="none",
            label=f"window {window}",
        )
    for x, y in own:
        axes.plot(x, y, "o", color="black", fillstyle="none", markersize=10, label="the setting of this answer")
    axes.set_yticks(range(len(grid.thresholds)), [f"{threshold:g}" for threshold in grid.thresholds])
    axes.set_ylim(-0.6, len(grid.thresholds) - 0.4)
    axes.set_ylabel("switch with\nthreshold")
    texts = signal.draft.texts
    if len(texts) <= _MOST_NAMED:
        shown = [_plain(text.replace("\n", "\u21b5")) for text in texts]
        axes.set_xticks(range(1, len(texts) + 1), shown, rotation=90, fontsize=7)
    else:
        axes.set_xlabel("drafted token")
    axes.grid(alpha=0.25, axis="y")
    _legend_above(axes, n_columns=len(grid.windows) + 1)


def draw_sweep(figure: Figure, rows: Sequence[SettingRow], recommended: WindowSetting | None) -> None:
    """Over the threshold, a line for each window: drafts with a switch, its position, and the share that is kept."""
    rows = [row for row in rows if not row.setting.ignore_repeated]
    left, middle, right = figure.subplots(1, 3)
    columns: tuple[tuple[Axes, str, Callable[[SettingRow], float | None]], ...] = (
        (left, "drafts in which the base takes over, %", lambda row: 100 * row.confident_share),
        (middle, "drafted tokens at the switch (median)", lambda row: row.switch_tokens),
        (right, "drafted share (median), %", lambda row: 100 * row.drafted_share),
    )
    for axes, title, value in columns:
        points = [(row.setting, found) for row in rows if (found := value(row)) is not None]
        for number, window in enumerate(sorted({row.setting.window for row in rows})):
            line = [(setting.threshold, found) for setting, found in points if setting.window == window]
            axes.plot(
                [threshold for threshold, _ in line],
                [found for _, found in line],
                _MARKERS[number % len(_MARKERS)] + "-",
                color=f"C{number}",
                markersize=4,
                label=f"window {window}",
            )
        for setting, found in points:
            if setting == recommended:
                axes.plot(setting.threshold, found, "*", color="black", markersize=14, label="recommended")
        axes.set_xlabel("threshold")
        axes.set_ylabel(title)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.25)
    left.set_ylim(0, 105)
    left.legend(fontsize=8, loc="lower left")
    figure.suptitle(f"{rows[0].n} drafts, each written and scored once", fontsize=10)
