"""Tokens drawn per second from rows of logits, by the native sampler and llama.cpp's chain, in turns on the same rows.

    python scripts/bench_sampling.py [--vocab 128256] [--rounds 60]

Rows are of two kinds: `flat` (normal logits of spread 2, as a model that is unsure) and `peaked` (spread 4). Prints
medians in microseconds; the last line is JSON.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_wsd.llama.binding import llama_cpp
from edge_wsd.llama.sampler import Sampler

VOCABULARIES = (32_000, 128_256)
SPREADS = {"flat": 2, "peaked": 4}
SAMPLINGS: Mapping[str, Mapping[str, Any]] = {
    "T=1": {},
    "T=0.7": {"temperature": 0.7},
    "top-p 0.95": {"top_p": 0.95},
    "top-k 40, top-p 0.95": {"top_k": 40, "top_p": 0.95},
    "min-p 0.05": {"min_p": 0.05},
}
ROWS = 8  # so that a row has to come from further away than the first-level cache
_CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])

Row = NDArray[np.float32]
Draw = Callable[[Row], int]


def native(settings: Mapping[str, Any]) -> Draw:
    sampler = Sampler(**{"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "seed": 0, **settings})
    return lambda row: sampler.choose(row.ctypes.data, row.size)[0]


def chain(settings: Mapping[str, Any], vocab: int) -> Draw:
    """llama.cpp's own, with the array of candidates that it needs filled as its programs do."""
    handle = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
    if top_k := settings.get("top_k"):
        llama_cpp.llama_sampler_chain_add(handle, llama_cpp.llama_sampler_init_top_k(top_k))
    if top_p := settings.get("top_p"):
        llama_cpp.llama_sampler_chain_add(handle, llama_cpp.llama_sampler_init_top_p(top_p, 1))
    if min_p := settings.get("min_p"):
        llama_cpp.llama_sampler_chain_add(handle, llama_cpp.llama_sampler_init_min_p(min_p, 1))
    llama_cpp.llama_sampler_chain_add(handle, llama_cpp.llama_sampler_init_temp(settings.get("temperature", 1.0)))
    llama_cpp.llama_sampler_chain_add(handle, llama_cpp.llama_sampler_init_dist(0))
    candidates = np.empty(vocab, _CANDIDATE)
    ids = np.arange(vocab, dtype=np.int32)
    pointer = ctypes.cast(candidates.ctypes.data, llama_cpp.llama_token_data_p)

    def draw(row: Row) -> int:
        candidates["id"], candidates["logit"] = ids, row
        array = llama_cpp.llama_token_data_array(data=pointer, size=vocab, selected=-1, sorted=False)
        llama_cpp.llama_sampler_apply(handle, ctypes.byref(array))
        return int(candidates["id"][array.selected])

    return draw


def measure(vocab: int, spread: int, settings: Mapping[str, Any], rounds: int) -> dict[str, float]:
    """Median microseconds per token, by contestant."""
    rows = np.random.default_rng(0).normal(0, spread, (ROWS, vocab)).astype(np.float32)
    contestants = {"native": native(settings), "llama.cpp": chain(settings, vocab)}
    taken: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(rounds):
        for name, draw in contestants.items():
            start = time.perf_counter()
            draw(rows[turn % ROWS])
            taken[name].append((time.perf_counter() - start) * 1e6)
    return {name: statistics.median(times) for name, times in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocab", type=int, action="append", help="entries in a row; may be given several times")
    parser.add_argument("--rounds", type=int, default=60, help="turns of each contestant")
    args = parser.parse_args()

    report = []
    for vocab in args.vocab or VOCABULARIES:
        for kind, spread in SPREADS.items():
            for name, settings in SAMPLINGS.items():
                medians = measure(vocab, spread, settings, args.rounds)
                ratio = medians["llama.cpp"] / medians["native"]
                print(
                    f"{vocab:>7} {kind:>6}  {name:<21} native {medians['native']:8.1f} us, "
                    f"llama.cpp {medians['llama.cpp']:8.1f} us, {ratio:5.1f} x, "
                    f"{1e6 / medians['native']:8.0f} tokens/s"
                )
                report.append({"vocab": vocab, "row": kind, "sampling": name, "us": medians, "ratio": ratio})
    print(json.dumps(report))


if __name__ == "__main__":
    main()
