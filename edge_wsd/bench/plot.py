"""Results as a picture: the time of an answer against agreement, and against the number of tokens proposed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from edge_wsd.bench.results import BenchResults, BenchRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE = (11.0, 4.6)
"""Inches."""

Point = tuple[float, float, float]
"""x, and median and spread of y."""


def draw_bench(figure: Figure, results: BenchResults) -> None:
    """Two plots side by side: the reference workload of each pair, ÷ the base alone."""
    against_agreement, against_k = figure.subplots(1, 2)
    _draw_agreement(against_agreement, results)
    _draw_proposals(against_k, results)
    work = results.rows[0].workload
    figure.suptitle(
        f"prompt {work.n_prompt}, answer {work.n_answer}, {work.at_once} at once\n{results.machine.processor}",
        fontsize=10,
    )


def _draw_agreement(axes: Axes, results: BenchResults) -> None:
    rows = [row for row in _rows(results) if results.agreement(row) is not None]
    for name, points in _lines(results, rows, lambda row: row.name, lambda row: 100 * (results.agreement(row) or 0)):
        _line(axes, name, points)
    _finish(axes, "agreement of drafter and base, %")


def _draw_proposals(axes: Axes, results: BenchResults) -> None:
    """Fixed numbers as a line for each pair; what the engine chooses as a level beside it."""
    rows = [row for row in _rows(results) if row.case is not None and row.case.writer == "wsd"]
    fixed = [row for row in rows if row.case is not None and row.case.propose is not None]
    for number, (pair, points) in enumerate(_lines(results, fixed, lambda row: row.pair, _proposed)):
        _line(axes, pair, points, color=f"C{number}")
        for row in rows:
            found = results.ratios(row)["answer_to_base"]
            if row.pair == pair and row.case is not None and row.case.propose is None and found is not None:
                axes.axhline(found.median, color=f"C{number}", linestyle=":", label=f"{pair}, auto")
    _finish(axes, "tokens proposed in a round, k")


def _rows(results: BenchResults) -> list[BenchRow]:
    """Rows of the reference workload and its switch, without the base alone, which is 1."""
    first = next((row for row in results.rows if row.case is not None and row.case.writer == "wsd"), None)
    work = results.rows[0].workload
    switch = None if first is None else first.switch
    rows = [row for row in results.rows if row.workload == work and row.name != "base"]
    return [row for row in rows if row.case is None or row.case.writer != "wsd" or row.switch == switch]


def _proposed(row: BenchRow) -> float:
    assert row.case is not None
    return float(row.case.propose or 0)


def _lines(
    results: BenchResults,
    rows: list[BenchRow],
    key: Callable[[BenchRow], str],
    x: Callable[[BenchRow], float],
) -> list[tuple[str, list[Point]]]:
    """Points by `key`, from left to right."""
    found: dict[str, list[Point]] = {}
    for row in rows:
        y = results.ratios(row)["answer_to_base"]
        if y is not None:
            found.setdefault(key(row), []).append((x(row), y.median, y.spread))
    return [(name, sorted(points)) for name, points in found.items()]


def _line(axes: Axes, name: str, points: list[Point], **style: Any) -> None:
    x, y, spread = zip(*points, strict=True)
    axes.errorbar(x, y, yerr=spread, marker="o", markersize=4, capsize=3, label=name, **style)


def _finish(axes: Axes, x_label: str) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.axhline(1, color="grey", linewidth=0.8)
    axes.set_xlabel(x_label)
    axes.set_ylabel("time of an answer ÷ base alone")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.25)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8)
    else:
        axes.text(0.5, 0.5, "not measured in this run", transform=axes.transAxes, ha="center", color="grey")
