"""The host's time for a greedy step of a model: what passes between two decodes, for the engine and in native code.

    python scripts/bench_steps.py MODEL.gguf [--threads 1] [--steps 16] [--rounds 5]

"Python" is from the end of one `llama_decode` to the beginning of the next, where a reply asks for one token after the
other. "Native" is the same where it asks for all at once: the time of one row, read where the decode has left it, since
that is all there is to do. Its row is one that has just been computed, so it is no more in the caches than it would be.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from edge_wsd import _native
from edge_wsd.decoding.events import Reply
from edge_wsd.decoding.protocols import Pass, Writing
from edge_wsd.engine.engine import Engine, Memories
from edge_wsd.llama.context import Context
from edge_wsd.llama.model import Model
from edge_wsd.llama.sequence import Piece
from edge_wsd.llama.settings import ModelSettings
from scripts.bench_engine import between_decodes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (1)")
    parser.add_argument("--steps", type=int, default=16, help="tokens that are written in a row (16)")
    parser.add_argument("--rounds", type=int, default=5, help="how often they are (5)")
    arguments = parser.parse_args()
    settings = ModelSettings(threads=arguments.threads, context_length=512)
    with Model.load(arguments.model, settings) as model, Context(model, settings, n_sequences=4) as context:
        python, native = [], []
        for _ in range(arguments.rounds):
            python += of_engine(context, arguments.steps)
            native += of_rows(context, arguments.steps)
    print(f"{arguments.model}: {context.n_vocab} entries, host time for a step in microseconds, medians")
    print(f"Python {1e6 * statistics.median(python):6.0f}")
    print(f"native {1e6 * statistics.median(native):6.0f}")


def of_engine(context: Context, n: int) -> list[float]:
    """Seconds between the decodes of a reply that asks for one token after the other."""
    text = list(range(5, 25))

    def write(memories: Memories) -> Writing[Reply]:
        sequence = memories["base"].take(text)
        for _ in range(n):
            rows = yield Pass(sequence, text, [])
            text.append(rows.choose(0)[0])
        sequence.clear()
        memories["base"].give_back(sequence)
        return Reply("", (), (), "length", None)

    engine = Engine({"base": context})
    with between_decodes() as (gaps, _):
        engine.submit(write).result()
    engine.close()
    return [seconds for seconds, _ in gaps]


def of_rows(context: Context, n: int) -> list[float]:
    """Seconds for the row behind each of so many decodes."""
    sequence, token, found = context.sequence(), 5, []
    for _ in range(n):
        address = context.decode([Piece(sequence, [token], [-1])])[0]
        began = time.perf_counter()
        _, token, _ = _native.score_row(address, context.n_vocab)
        found.append(time.perf_counter() - began)
    sequence.close()
    return found


if __name__ == "__main__":
    main()
