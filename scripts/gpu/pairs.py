"""Step `pairs`: a drafter and a base of random weights of given shapes, and the noise that makes each agreement."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.gpu.workplace import ROOT, Workplace

AGREEMENTS = (1.0, 0.8, 0.5)
_MAKE = ROOT / "scripts" / "make_bench_pair.py"


@dataclass(frozen=True)
class PairOfShapes:
    """Names of shapes in scripts/make_bench_pair.py."""

    drafter: str
    base: str
    n_vocab: int
    gib: float
    """Of both files."""

    @property
    def name(self) -> str:
        return f"{self.drafter}+{self.base}"


GPU_PAIRS = (PairOfShapes("3B", "8B", 128_256, 7.0), PairOfShapes("3B", "70B", 128_256, 42.0))
CPU_PAIRS = (PairOfShapes("tiny", "small", 2000, 0.1),)


def make_pairs(place: Workplace, pairs: tuple[PairOfShapes, ...], folder: Path) -> None:
    """One base serves all agreements: these differ in the norms of its last layers, which are written in place."""
    for pair in pairs:
        found: dict[str, Any] = place.read(f"pair {pair.name}") or {}
        for goal in AGREEMENTS:
            if str(goal) in found and (folder / pair.name / "base.gguf").is_file():
                continue
            if not found:
                _require_room(folder, pair)
            found[str(goal)] = _make(place, pair, folder, ["--agreement", goal])
            place.write(f"pair {pair.name}", found)


def set_agreement(place: Workplace, pair: PairOfShapes, folder: Path, goal: float) -> Any:
    """Make the files agree as often as `goal`; returns the noise, and the agreement that was measured."""
    found = (place.read(f"pair {pair.name}") or {}).get(str(goal))
    if found is None:
        sys.exit(f"{pair.name}: there is no pair yet; run the step pairs first")
    _make(place, pair, folder, ["--noise", found["noise"]])
    return found


def _make(place: Workplace, pair: PairOfShapes, folder: Path, how: list[Any]) -> Any:
    shapes = ["--shapes", pair.drafter, pair.base, "--vocab", pair.n_vocab]
    log = f"pairs/{pair.name}.log"
    if status := place.run([place.python, _MAKE, folder / pair.name, "--keep", *shapes, *how], log=log):
        sys.exit(f"{_MAKE.name} ended with status {status}: see {place.folder / log}")
    return json.loads((place.folder / log).read_text(encoding="utf-8").splitlines()[-1])


def _require_room(folder: Path, pair: PairOfShapes) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free / 2**30
    if free < pair.gib:
        sys.exit(f"{folder}: {pair.name} needs {pair.gib:.0f} GiB and {free:.0f} are free; name another with --pairs")
