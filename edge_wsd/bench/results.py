"""What a whole run has found: rows with their repetitions, in the order in which they are shown."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from edge_wsd.bench.cases import BenchCase, Workload
from edge_wsd.bench.figures import NAMES, Figures, Summary, ratio, summary
from edge_wsd.bench.machine import BenchMachine
from edge_wsd.decoding.events import Source

DERIVED = ("answer_tps",)


@dataclass(slots=True)
class BenchRow:
    """One row and its repetitions."""

    pair: str
    workload: Workload
    name: str
    case: BenchCase | None
    """None for a peer."""
    figures: list[Figures] = field(default_factory=list)

    @property
    def switch(self) -> str:
        """Where the base takes over, in words."""
        if self.case is None or self.case.writer != "wsd":
            return ""
        if self.case.never_switches:
            return "never"
        return "auto" if self.case.switch_at is None else str(self.case.switch_at)


@dataclass(frozen=True, slots=True)
class BenchPair:
    """A pair that was measured."""

    name: str
    drafter: str
    base: str
    drafter_mib: float
    base_mib: float
    agreement: float | None
    overlaps: bool
    settings: dict[Source, dict[str, object]]
    """What each model was loaded with, by name."""

    @property
    def line(self) -> str:
        """For a person."""
        share = "" if self.agreement is None else f"; agreement {100 * self.agreement:.1f} %"
        return (
            f"pair {self.name}: {self.drafter} ({self.drafter_mib:.0f} MiB) drafts for {self.base} "
            f"({self.base_mib:.0f} MiB){share}; {self._said}"
        )

    @property
    def _said(self) -> str:
        """The settings; both models' where they differ."""
        drafter, base = self.settings["drafter"], self.settings["base"]
        said = [
            f"{name.replace('_', ' ')} {value}"
            if drafter[name] == value
            else f"{name.replace('_', ' ')} {drafter[name]} and {value}"
            for name, value in base.items()
        ]
        return ", ".join([*said, f"overlap {'on' if self.overlaps else 'off'}"])


@dataclass(slots=True)
class BenchResults:
    """All of it."""

    machine: BenchMachine
    n_repetitions: int
    pairs: list[BenchPair] = field(default_factory=list)
    rows: list[BenchRow] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    """Peers that failed, and why; they are not measured again."""

    @contextmanager
    def without_empty_rows(self) -> Iterator[None]:
        """Rows that were not measured in the block, for whatever reason, leave at its end."""
        try:
            yield
        finally:
            self.rows = [row for row in self.rows if row.figures]

    def reference(self, row: BenchRow) -> BenchRow | None:
        """The base alone with the same workload, the row that others are compared with."""
        return self._alone(row, "base")

    def _alone(self, row: BenchRow, name: str) -> BenchRow | None:
        same = (one for one in self.rows if one.case is not None and one.name == name)
        return next((one for one in same if (one.pair, one.workload) == (row.pair, row.workload)), None)

    def ratios(self, row: BenchRow) -> dict[str, Summary | None]:
        """Time of a token of the answer to the base's, and time to the first text to the drafter's."""
        found: dict[str, Summary | None] = {}
        for key, name, other in (
            ("answer_to_base", "token_s", self.reference(row)),
            ("ttft_to_drafter", "ttft_s", self._alone(row, "drafter")),
        ):
            found[key] = None if other is None else ratio(row.figures, other.figures, name)
        return found

    def agreement(self, row: BenchRow) -> float | None:
        """Of the row's pair."""
        return next(one.agreement for one in self.pairs if one.name == row.pair)

    def records(self) -> Iterator[dict[str, Any]]:
        """Each row as an object: what it is, medians, spreads, ratios, and every repetition."""
        for row in self.rows:
            medians = {name: summary(row.figures, name) for name in (*NAMES, *DERIVED)}
            yield {
                "pair": row.pair,
                "agreement": self.agreement(row),
                **asdict(row.workload),
                "name": row.name,
                "peer": row.case is None,
                "switch_at": row.switch or None,
                "median": {name: None if one is None else one.median for name, one in medians.items()},
                "spread": {name: None if one is None else one.spread for name, one in medians.items()},
                "ratio": {name: None if one is None else one.median for name, one in self.ratios(row).items()},
                "repetitions": [asdict(one) for one in row.figures],
            }

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "machine": self.machine.as_dict(),
            "n_repetitions": self.n_repetitions,
            "pairs": [asdict(one) for one in self.pairs],
            "rows": list(self.records()),
            "failures": self.failures,
        }
