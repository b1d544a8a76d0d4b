"""Results as a table in Markdown, and as comma-separated values."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edge_wsd.bench.figures import NAMES, Summary, summary
from edge_wsd.bench.results import DERIVED, BenchResults, BenchRow


@dataclass(frozen=True, slots=True)
class Column:
    """A figure of the table: its heading, and in what unit it is written."""

    heading: str
    name: str
    scale: float = 1.0
    has_spread: bool = False
    is_count: bool = False


COLUMNS = (
    Column("first token ms", "ttft_s", 1e3, True),
    Column("answer s", "answer_s", 1, True),
    Column("tokens", "n_tokens", is_count=True),
    Column("t/s", "answer_tps"),
    Column("drafter prompt t/s", "drafter_prompt_tps"),
    Column("drafter decode t/s", "drafter_decode_tps"),
    Column("base prompt t/s", "base_prompt_tps"),
    Column("base decode t/s", "base_decode_tps"),
    Column("base passes", "base_passes", is_count=True),
    Column("accepted %", "accepted", 100, is_count=True),
    Column("host ms/token", "host_ms"),
    Column("resident MiB", "resident_mib", is_count=True),
    Column("device MiB", "device_mib", is_count=True),
)
RATIOS = (("÷ base", "answer_to_base"), ("first ÷ drafter", "ttft_to_drafter"))


def markdown(results: BenchResults) -> str:
    """The header, a table of all rows, and what has to be known of it. Columns without any figure are left out."""
    shown = [column for column in COLUMNS if any(_median(row, column) for row in results.rows)]
    headings = ["pair", "agrees %", "prompt", "answer", "at once", "row", "switch"]
    headings += [heading for heading, _ in RATIOS] + [column.heading for column in shown]
    lines = [f"{line}  " for line in [*results.machine.lines(), *(pair.line for pair in results.pairs)]]
    lines += [f"{results.n_repetitions} repetitions of every row, in turns: medians ± half of the spread", ""]
    lines.append(_line(headings))
    lines.append(_line(["---"] + ["---:"] * 4 + ["---", "---:"] + ["---:"] * (len(headings) - 7)))
    lines += [_line(_cells(results, row, shown)) for row in results.rows]
    lines += ["", *(f"failed: {failure}" for failure in results.failures)] if results.failures else []
    return "\n".join(lines)


def comma_separated(results: BenchResults) -> str:
    """A line of headings and one for each row: medians, then spreads."""
    names = (*NAMES, *DERIVED)
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    first = ("pair", "agreement", "n_prompt", "n_answer", "at_once", "name", "peer", "switch_at")
    writer.writerow([*first, *(key for _, key in RATIOS), *names, *(f"{name}_spread" for name in names)])
    for record in results.records():
        cells: list[Any] = [record[name] for name in first] + [record["ratio"][key] for _, key in RATIOS]
        cells += [record[part][name] for part in ("median", "spread") for name in names]
        writer.writerow(["" if cell is None else cell for cell in cells])
    return target.getvalue().rstrip("\n")


def _cells(results: BenchResults, row: BenchRow, shown: Sequence[Column]) -> list[str]:
    work, agreement = row.workload, results.agreement(row)
    cells = [row.pair, "" if agreement is None else f"{100 * agreement:.0f}"]
    cells += [*map(str, (work.n_prompt, work.n_answer, work.at_once)), row.name, row.switch]
    ratios = results.ratios(row)
    cells += ["" if (found := ratios[key]) is None else f"{found.median:.2f}" for _, key in RATIOS]
    return cells + [_written(_median(row, column), column) for column in shown]


def _median(row: BenchRow, column: Column) -> Summary | None:
    return summary(row.figures, column.name)


def _written(found: Summary | None, column: Column) -> str:
    if found is None:
        return ""
    median, spread = column.scale * found.median, column.scale * found.spread
    n_decimals = 0 if column.is_count else decimals(median)
    return f"{median:.{n_decimals}f}" + (f" ±{spread:.{n_decimals}f}" if column.has_spread and found.n > 1 else "")


def decimals(value: float) -> int:
    """Decimal places that show three digits of a number, and all digits before its point."""
    return 2 if value == 0 else min(4, max(0, 2 - math.floor(math.log10(abs(value)))))


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
