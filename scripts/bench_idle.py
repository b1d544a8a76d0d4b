"""What texts cost that nobody writes: a token beside them in the context, and saving and restoring against reading.

    python scripts/bench_idle.py                                  # the embedded pair's base
    python scripts/bench_idle.py BASE.gguf --threads 4

All numbers of idle texts are measured in turns within one process, `--rounds` times; medians are printed.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from edge_wsd import ModelSettings
from edge_wsd.demo.files import base_path
from edge_wsd.llama.context import Context
from edge_wsd.llama.model import Model
from edge_wsd.llama.sequence import Sequence as Text

N_IDLE = (0, 2, 14)
LENGTHS = (16, 32, 64, 128, 512)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", type=Path, help="a GGUF file (the embedded pair's base)")
    parser.add_argument("--length", type=int, default=490, help="tokens of each idle text (490)")
    parser.add_argument("--tokens", type=int, default=32, help="tokens written beside them, each time (32)")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each number (5)")
    parser.add_argument("--threads", type=int, help="CPU threads (as chosen)")
    arguments = parser.parse_args()
    # Room for all of them in a unified cache, as eight replies at once have it.
    settings = ModelSettings(threads=arguments.threads, context_length=1024, parallel=8)
    with (
        Model.load(arguments.file or base_path(), settings) as model,
        Context(model, settings, n_sequences=16) as context,
    ):
        beside(context, arguments.length, arguments.tokens, arguments.rounds)
        against_reading(context, arguments.rounds)


def beside(context: Context, length: int, n_tokens: int, rounds: int) -> None:
    """Milliseconds a token of one text, with others in the context."""
    took: dict[int, list[float]] = {n: [] for n in N_IDLE}
    for _ in range(rounds):
        for n in N_IDLE:
            idle = [read(context, 7 * number, length) for number in range(n)]
            text = read(context, 5, 20)
            began = time.perf_counter()
            for token in range(n_tokens):
                text.score([token], [])
            took[n].append((time.perf_counter() - began) / n_tokens)
            for one in (*idle, text):
                one.close()
    print(f"a token beside idle texts of {length} tokens")
    for n, seconds in took.items():
        print(f"{n:4} texts  {1e3 * statistics.median(seconds):8.2f} ms")


def against_reading(context: Context, rounds: int) -> None:
    """Milliseconds to read, save and restore a text; and how many of its tokens are restored while one is read."""
    print("tokens   reading    saving  restoring (ms)   bytes a token   restored per token read")
    for length in LENGTHS:
        reading, saving, restoring = [], [], []
        for _ in range(rounds):
            reading.append(timed(lambda n=length: read(context, 3, n)))
            text = reading[-1][1]
            saving.append(timed(text.save))
            state = saving[-1][1]
            text.clear()
            restoring.append(timed(lambda one=text, what=state: one.restore(what)))
            text.close()
        medians = [1e3 * statistics.median(seconds for seconds, _ in column) for column in (reading, saving, restoring)]
        figures = (length, *medians, state.n_bytes / length, medians[0] / (medians[1] + medians[2]))
        print("{:6}  {:8.2f}  {:8.3f}  {:9.3f}        {:9.0f}   {:9.1f}".format(*figures))


def read(context: Context, seed: int, n: int) -> Text:
    text = context.sequence()
    text.extend([(seed + i * i) % 200 for i in range(n)])
    return text


def timed(call: Callable[[], object]) -> tuple[float, object]:
    began = time.perf_counter()
    result = call()
    return time.perf_counter() - began, result


if __name__ == "__main__":
    main()
