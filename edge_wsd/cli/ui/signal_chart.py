"""The signal of an answer in characters: a column for each drafted token, or for a few of them.

Without colour the marks tell the two curves apart; where a terminal has no UTF-8, they are plain ASCII.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edge_wsd.calibration.draft_signal import DraftSignal
from edge_wsd.cli.ui.paint import DIM, RESET, colour_of
from edge_wsd.cli.ui.rows import broken
from edge_wsd.units import counted

_STEPS = 10  # of the probability, from 0 to 1
_AXIS = 5  # columns that it takes
_WIDEST = 3  # columns of a token, however much space there is
_LABEL_EVERY = 8
_ROUND = (5, 10, 20, 50, 100, 200, 500, 1000, 5000, 10_000, 100_000, 1_000_000)


@dataclass(frozen=True, slots=True)
class Marks:
    """The characters of a chart."""

    probability: str
    confidence: str
    both: str
    threshold: str
    switch: str
    corner: str
    floor: str
    tick: str


UNICODE = Marks("\u00d7", "\u25cf", "\u25c9", "\u2504", "\u2502", "\u2514", "\u2500", "\u2534")
ASCII = Marks("x", "o", "@", "-", "|", "+", "-", "+")


def marks_for(encoding: str | None) -> Marks:
    """Those that a stream of this encoding can show."""
    try:
        "".join(vars_of(UNICODE)).encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return UNICODE


def vars_of(marks: Marks) -> list[str]:
    """All characters of the marks."""
    return [getattr(marks, name) for name in Marks.__slots__]


def chart_lines(signal: DraftSignal, n_columns: int, marks: Marks, *, colours: bool) -> list[str]:
    """The chart and its legend, in lines of at most `n_columns`; nothing for an empty draft."""
    if not len(signal.draft):
        return []
    chart = _Chart(signal, max(n_columns - _AXIS, 1), marks, colours)
    legend = [line for text in chart.legend() for line in broken(text, n_columns)]
    return [*chart.rows(), chart.floor(), chart.numbers(), "", *legend]


class _Chart:
    def __init__(self, signal: DraftSignal, width: int, marks: Marks, colours: bool) -> None:
        self._signal, self._marks, self._colours = signal, marks, colours
        n = len(signal.draft)
        self._per_column = -(-n // width)  # tokens
        self._n = -(-n // self._per_column)
        self._wide = min(_WIDEST, width // self._n) if self._per_column == 1 else 1
        self._lowest = [min(group) for group in self._grouped(signal.probabilities)]
        self._highest = [
            max((value for value in group if value is not None), default=None)
            for group in self._grouped(signal.confidences)
        ]
        index = None if signal.switch is None or signal.switch.index < 0 else signal.switch.index
        self._switch = None if index is None else index // self._per_column

    def _grouped(self, values: Sequence) -> list[Sequence]:  # type: ignore[type-arg]
        return [values[i : i + self._per_column] for i in range(0, len(values), self._per_column)]

    def rows(self) -> list[str]:
        """From probability 1 down to 0."""
        return [self._row(step) for step in range(_STEPS, -1, -1)]

    def _row(self, step: int) -> str:
        is_threshold = step == round(self._signal.setting.threshold * _STEPS)
        label = f"{step / _STEPS:.1f} " if step % 2 == 0 or is_threshold else "    "
        between = self._marks.threshold if is_threshold else " "
        cells = [self._cell(column, step) or (between, DIM) for column in range(self._n)]
        while cells and cells[-1][0] == " ":
            cells.pop()
        gap = self._painted(between * (self._wide - 1), DIM)
        row = gap.join(self._painted(mark, paint) for mark, paint in cells)
        return label + self._marks.switch + row

    def _cell(self, column: int, step: int) -> tuple[str, str] | None:
        """The mark that stands there, and its colour."""
        marks, confidence = self._marks, self._highest[column]
        has_probability = round(self._lowest[column] * _STEPS) == step
        if confidence is not None and round(confidence * _STEPS) == step:
            return marks.both if has_probability else marks.confidence, colour_of("base")
        if has_probability:
            return marks.probability, colour_of("drafter")
        return (marks.switch, DIM) if column == self._switch else None

    def _painted(self, text: str, paint: str) -> str:
        return f"{paint}{text}{RESET}" if self._colours and text.strip() else text

    def floor(self) -> str:
        """The axis, with a tick where a number is."""
        marks, numbered = self._marks, self._numbered()
        cells = [
            (marks.tick if column in numbered else marks.floor) + marks.floor * (self._wide - 1)
            for column in range(self._n)
        ]
        return " " * (_AXIS - 1) + marks.corner + "".join(cells)

    def numbers(self) -> str:
        """Numbers of tokens, from 1, below their columns."""
        line = ""
        for column, number in self._numbered().items():
            line = line.ljust(_AXIS + column * self._wide) + str(number)
        return line

    def _numbered(self) -> dict[int, int]:
        """Columns, and the token of each that is named below it: the first, then round numbers."""
        step = next(n for n in _ROUND if n * self._wide >= _LABEL_EVERY * self._per_column)
        round_numbers = range(step, len(self._signal.draft) + 1, step)
        return {(number - 1) // self._per_column: number for number in (1, *round_numbers)}

    def legend(self) -> list[str]:
        """What the marks mean."""
        marks, setting = self._marks, self._signal.setting
        several = self._per_column > 1
        lowest, highest = (", the lowest of a column", ", the highest") if several else ("", "")
        repeated = " that repeat nothing" if setting.ignore_repeated else ""
        lines = [
            f"{marks.probability} the base's probability of a drafted token{lowest}",
            f"{marks.confidence} its confidence in the last {counted(setting.window, 'tokens')}{repeated}{highest}",
            f"{marks.both} both",
            f"{marks.threshold * 2} threshold {setting.threshold:g}",
        ]
        if self._signal.switch is not None:
            lines.append(f"{marks.switch} switch after {counted(self._signal.switch.index + 1, 'tokens')}")
        if several:
            lines.append(f"a column is {self._per_column} tokens")
        return lines
