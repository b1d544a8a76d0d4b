"""Time of one pass over a row of logits, native against numpy, measured in turns on the same rows.

    python scripts/bench_native.py [--vocab 128256] [--rounds 300]

Prints medians in milliseconds for each implementation that this machine runs; the last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from edge_wsd import _native

ROWS = 16  # more rows than the second-level cache holds, as after a real decode

Score = tuple[float, int, float]


def score_with_numpy(row: NDArray[np.float32], target: int) -> Score:
    greedy = int(row.argmax())
    peak = row[greedy]
    log_total = float(np.log(np.exp(row - peak).sum()))
    return float(row[target] - peak) - log_total, greedy, -log_total


def with_isa(name: str) -> Callable[[NDArray[np.float32], int], Score]:
    def score(row: NDArray[np.float32], target: int) -> Score:
        _native.force_isa(name)
        return _native.score_row(row.ctypes.data, row.size, target)

    return score


def measure(vocab: int, rounds: int) -> dict[str, float]:
    """Median milliseconds for a row of `vocab` entries, by contestant."""
    rows = np.random.default_rng(0).normal(0, 4, (ROWS, vocab)).astype(np.float32)
    contestants = {"numpy": score_with_numpy, **{name: with_isa(name) for name in _native.available_isas()}}
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(rounds):
        for name, score in contestants.items():
            start = time.perf_counter()
            score(rows[turn % ROWS], turn)
            times[name].append((time.perf_counter() - start) * 1e3)
    return {name: statistics.median(taken) for name, taken in times.items()}


def measure_chunk(vocab: int, rounds: int) -> float:
    """Median milliseconds for each row of a chunk of `ROWS` rows, scored in one call."""
    rows = np.random.default_rng(0).normal(0, 4, (ROWS, vocab)).astype(np.float32)
    targets = np.arange(ROWS, dtype=np.int32)
    taken = []
    for _ in range(max(1, rounds // ROWS)):
        start = time.perf_counter()
        _native.score_rows(rows.ctypes.data, ROWS, vocab, targets)
        taken.append((time.perf_counter() - start) * 1e3 / ROWS)
    return statistics.median(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocab", type=int, default=128_256, help="entries in a row")
    parser.add_argument("--rounds", type=int, default=300, help="turns of each contestant")
    args = parser.parse_args()

    fastest = _native.isa()
    medians = measure(args.vocab, args.rounds)
    _native.force_isa(fastest)
    chunk_ms = measure_chunk(args.vocab, args.rounds)
    for name, ms in medians.items():
        print(f"{name:>10}  {ms:7.4f} ms a row  {medians['numpy'] / ms:6.1f} x numpy")
    print(f"{'chunk':>10}  {chunk_ms:7.4f} ms a row  ({fastest}, {ROWS} rows in one call)")
    report = {
        "vocab": args.vocab,
        "isa": fastest,
        "row_ms": medians,
        "chunk_row_ms": chunk_ms,
        "ratio": medians["numpy"] / medians[fastest],
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
