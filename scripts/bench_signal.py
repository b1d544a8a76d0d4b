"""What it saves to compute scores where the logits are: time of passes with and without, and bytes sent back for rows.

    python scripts/bench_signal.py MODEL.gguf... [--gpu-layers -1] [--threads 1] [--rounds 15]

Both ways take turns, over contexts of one model. It ends with an error where the two do not agree: on the most probable
tokens (but for ties within the rounding of the device) and on probabilities, within 4e-7.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from edge_wsd.llama.context import Context
from edge_wsd.llama.model import Model
from edge_wsd.llama.scores import Scores
from edge_wsd.llama.sequence import Piece, Sequence
from edge_wsd.llama.settings import ModelSettings

PASSES = {"step": (1, 1), "draft of 4": (1, 5), "draft of 8": (1, 9), "8 steps": (8, 1), "8 drafts of 4": (8, 5)}
"""Texts in a pass, and rows of each."""
BEHIND, MOST_TEXTS = 64, 8
"""Tokens that the passes stand behind."""
NUMBERS_BYTES = 16
NEAR = 4e-7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL")
    parser.add_argument("--gpu-layers", type=int, default=-1, help="layers on the GPU (-1: all)")
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--rounds", type=int, default=15, help="measurements of each (15)")
    arguments = parser.parse_args()
    for path in arguments.models:
        print(f"{path}: ms per pass, medians (least to most)")
        measure(path, arguments.gpu_layers, arguments.threads, arguments.rounds)


def measure(path: Path, gpu_layers: int, threads: int | None, rounds: int) -> None:
    """A line for each kind of pass."""
    with ExitStack() as stack:
        plain = ModelSettings(gpu_layers=gpu_layers, threads=threads, context_length=512, device_signal="off")
        model = stack.enter_context(Model.load(path, plain))
        contexts = {}
        for how in ("off", "on"):
            settings = ModelSettings(
                gpu_layers=gpu_layers, threads=threads, context_length=512, parallel=MOST_TEXTS, device_signal=how
            )
            contexts[how] = stack.enter_context(Context(model, settings, n_sequences=MOST_TEXTS))
        if contexts["on"].signal is None:
            sys.exit(f"{path}: the device that computes the logits lacks an operation that this takes")
        texts = {how: [begun(context) for _ in range(MOST_TEXTS)] for how, context in contexts.items()}
        for kind, (n_texts, n_rows) in PASSES.items():
            seconds: dict[str, list[float]] = {how: [] for how in contexts}
            for turn in range(rounds + 1):
                tokens = [(7 * turn + i) % model.vocab.n_tokens for i in range(n_rows)]
                found = {how: timed(texts[how][:n_texts], tokens) for how in contexts}
                require_equal(kind, found["off"][1], found["on"][1])
                for how, (took, _) in found.items():
                    if turn > 0:  # the first plans its memory and builds the graph
                        seconds[how].append(took)
            n_bytes = n_texts * n_rows * model.vocab.n_tokens * 4
            cells = [
                f"{how} {1e3 * statistics.median(one):8.2f} ({1e3 * min(one):.2f} to {1e3 * max(one):.2f})"
                for how, one in seconds.items()
            ]
            print(f"{kind:14}", *cells, f"rows: {n_bytes:,} bytes, {n_texts * n_rows * NUMBERS_BYTES}", sep="  ")


def begun(context: Context) -> Sequence:
    sequence = context.sequence()
    sequence.extend(range(5, 5 + BEHIND))
    return sequence


def timed(texts: list[Sequence], tokens: list[int]) -> tuple[float, list[Scores]]:
    """One pass that reads `tokens` behind each of `texts`, with a row behind each; then they are as before."""
    context = texts[0].context
    scores = [Scores(context) for _ in texts]
    pieces = [Piece(text, tokens, [*tokens[1:], -1]) for text in texts]
    start = time.perf_counter()
    context.run(pieces, scores)
    took = time.perf_counter() - start
    for text in texts:
        text.cut(BEHIND)
    return took, scores


def require_equal(kind: str, expected: list[Scores], found: list[Scores]) -> None:
    for one, other in zip(expected, found, strict=True):
        pairs = [*zip(one.logprobs, other.logprobs, strict=True)]
        pairs += [(one.top(row), other.top(row)) for row in range(one.n_rows)]
        worst = max(abs(math.exp(a) - math.exp(b)) for a, b in pairs)
        if worst > NEAR:
            sys.exit(f"{kind}: probabilities differ by {worst:.1e}, expected at most {NEAR:.0e}")
        for row in range(one.n_rows):
            if one.choose(row)[0] != other.choose(row)[0] and one.top(row) != other.top(row):
                sys.exit(f"{kind}: row {row} has another most probable token: {one.choose(row)}, {other.choose(row)}")


if __name__ == "__main__":
    main()
