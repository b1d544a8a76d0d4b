"""What a process of their own costs the models: time to load, and time of a token, against a pair in memory.

    python scripts/bench_isolation.py [--rounds 4]

The demonstration pair, whose tokens take next to no time; both ways in turns, medians.
"""

from __future__ import annotations

import argparse
import time
from statistics import median

from edge_wsd import ModelSettings, Pair
from edge_wsd.demo.examples import EXAMPLES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=4, help="measurements of each way (4)")
    rounds = parser.parse_args().rounds
    found: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
    for _ in range(rounds):
        for isolate, measured in found.items():
            measured.append(measure(isolate=isolate))
    for isolate, measured in found.items():
        load_s, token_s = (median(values) for values in zip(*measured, strict=True))
        print(f"{'isolated' if isolate else 'in memory':10} loaded in {load_s:.2f} s, {1e3 * token_s:.2f} ms a token")


def measure(*, isolate: bool) -> tuple[float, float]:
    """Seconds to load, and of a token, without speculation."""
    one = ModelSettings(threads=1)
    began = time.perf_counter()
    with Pair.demo(isolate=isolate, drafter_settings=one, base_settings=one) as pair:
        load_s = time.perf_counter() - began
        pair.generate(EXAMPLES[0])
        times = []
        for question in [*EXAMPLES] * 3:
            began = time.perf_counter()
            n_tokens = len(pair.generate(question, speculation=False).tokens)
            times.append((time.perf_counter() - began) / n_tokens)
        return load_s, median(times)


if __name__ == "__main__":
    main()
