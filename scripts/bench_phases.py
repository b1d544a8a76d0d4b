"""How many threads each kind of pass wants: tokens per second of steps, of batches that score a draft, of prompts.

    python scripts/bench_phases.py MODEL.gguf... [--threads 1 2] [--rounds 5]

Numbers of threads are measured in turns. A kind of pass that is fastest with another number than the rest would be a
reason to give it that number of its own.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from edge_wsd.llama.context import Context
from edge_wsd.llama.model import Model
from edge_wsd.llama.settings import ModelSettings

PASSES = {"step": (1, 24), "draft of 8": (8, 4), "prompt of 128": (128, 1)}
"""Tokens of a pass, and how many passes are one measurement."""
BEHIND = 64
"""Tokens that the passes stand behind."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="numbers of CPU threads (1 2)")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each (5)")
    arguments = parser.parse_args()
    for path in arguments.models:
        print(f"{path}: tokens per second, medians (least to most)")
        for kind, rates in measure(path, arguments.threads, arguments.rounds).items():
            cells = [f"{statistics.median(one):7.1f} ({min(one):.1f} to {max(one):.1f})" for one in rates.values()]
            print(f"{kind:14}", *(f"{n} threads: {cell}" for n, cell in zip(rates, cells, strict=True)), sep="  ")


def measure(path: Path, numbers: list[int], rounds: int) -> dict[str, dict[int, list[float]]]:
    """The rates of each kind of pass with each number of threads."""
    found: dict[str, dict[int, list[float]]] = {kind: {n: [] for n in numbers} for kind in PASSES}
    with ExitStack() as stack:
        model = stack.enter_context(Model.load(path))
        contexts = {
            n: stack.enter_context(Context(model, ModelSettings(threads=n, context_length=512))) for n in numbers
        }
        for _ in range(rounds):
            for kind, sizes in PASSES.items():
                for n, context in contexts.items():
                    found[kind][n].append(rate(context, *sizes))
    return found


def rate(context: Context, n_tokens: int, n_passes: int) -> float:
    sequence = context.sequence()
    sequence.extend(range(5, 5 + BEHIND))
    began = time.perf_counter()
    for _ in range(n_passes):
        sequence.score([7] * n_tokens, [])
        sequence.cut(BEHIND)
    seconds = time.perf_counter() - began
    sequence.close()
    return n_tokens * n_passes / seconds


if __name__ == "__main__":
    main()
