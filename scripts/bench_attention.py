"""What flash attention costs and saves: speed behind texts of several lengths, memory, and rounding.

    python scripts/bench_attention.py MODEL.gguf [--lengths 64 600 2500] [--ways off on auto] [--tokens 12]

For each way in turns: tokens per second of reading up to each length and of decoding behind it (medians of three), and
how far the log-probabilities of the likeliest tokens are at most from those of a 32-bit cache without flash attention.
A way may have a cache type, a batch and a number of threads of its own: `on:q8_0`, `off:f16:64`, `on:f16:512:1`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_wsd.llama.context import Context
from edge_wsd.llama.model import Model
from edge_wsd.llama.sequence import Sequence
from edge_wsd.llama.settings import ModelSettings
from edge_wsd.llama.tools.measure import simulate

_TIMES = 3
_REFERENCE = "off:f32"
_TEXT = "The largest files of a folder are listed by their size, one in every line, with the newest of them first. "


@dataclass
class Measured:
    """Of one way at one length. Rates in tokens per second."""

    reading: float
    decoding: float
    logprobs: NDArray[np.float64]
    """[n_tokens, n_vocab]"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--lengths", type=int, nargs="+", default=[64, 600, 2500])
    parser.add_argument("--ways", nargs="+", default=["off", "on", "auto"])
    parser.add_argument("--tokens", type=int, default=12, help="decoded each time (12)")
    parser.add_argument("--threads", type=int, default=None)
    arguments = parser.parse_args()
    n_ctx = max(arguments.lengths) + _TIMES * arguments.tokens + 64
    ways = {way: settings_of(way, n_ctx, arguments.threads) for way in (_REFERENCE, *arguments.ways)}
    found: dict[int, dict[str, Measured]] = {}
    with Model.load(arguments.model, ModelSettings(gpu_layers=0)) as model:
        contexts = {way: Context(model, settings) for way, settings in ways.items()}
        texts = {way: context.sequence() for way, context in contexts.items()}
        words = model.vocab.tokenize(_TEXT)
        tokens = (words * (n_ctx // len(words) + 1))[:n_ctx]
        for length in sorted(arguments.lengths):
            found[length] = {way: measure(text, tokens, length, arguments.tokens) for way, text in texts.items()}
    buffers = {way: simulate(arguments.model, settings).compute["CPU"] / 2**20 for way, settings in ways.items()}
    report(found, buffers, arguments)


def settings_of(way: str, n_ctx: int, threads: int | None) -> ModelSettings:
    flash, *rest = way.split(":")
    given: dict[str, Any] = {"flash_attention": flash, "threads": threads}
    for name, kind, text in zip(("kv_type", "batch", "threads"), (str, int, int), rest, strict=False):
        given[name] = kind(text)
    return ModelSettings(gpu_layers=0, context_length=n_ctx, **given)


def measure(text: Sequence, tokens: list[int], length: int, n: int) -> Measured:
    """Read on to `length`, and decode `n` tokens behind it one by one, some times over."""
    before = len(text.tokens)
    start = time.perf_counter()
    text.extend(tokens[before:length])
    reading = (length - before) / (time.perf_counter() - start)
    rates, rows = [], []
    for _ in range(_TIMES):
        rows = []
        start = time.perf_counter()
        for token in tokens[length : length + n]:
            rows.append(text.logits([token])[0])
        rates.append(n / (time.perf_counter() - start))
        text.cut(length)
    logits = np.array(rows, np.float64)
    top = logits.max(1, keepdims=True)
    logprobs = logits - top - np.log(np.exp(logits - top).sum(1, keepdims=True))
    return Measured(reading, statistics.median(rates), logprobs)


def report(found: dict[int, dict[str, Measured]], buffers: dict[str, float], arguments: argparse.Namespace) -> None:
    rows = []
    print(f"{'behind':>7}  {'flash attention':18}{'reading':>9}{'decoding':>10}{'log p off by':>14}{'buffer MiB':>12}")
    for length, ways in found.items():
        right = ways[_REFERENCE].logprobs
        likeliest = np.arange(len(right)), right.argmax(1)
        for way, one in ways.items():
            off_by = float(np.abs(one.logprobs - right)[likeliest].max())
            print(f"{length:7}  {way:18}{one.reading:9.1f}{one.decoding:10.2f}{off_by:14.1e}{buffers[way]:12.1f}")
            rows.append([length, way, one.reading, one.decoding, off_by, buffers[way]])
    print(json.dumps({"arguments": vars(arguments), "rows": rows}))


if __name__ == "__main__":
    main()
