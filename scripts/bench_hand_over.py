"""Host time per token of handing a draft over between two vocabularies, behind drafts of several lengths.

    python scripts/bench_hand_over.py DRAFTER.gguf BASE.gguf [--tokens 64 512 4096 16384] [--runs 3]

Only the vocabularies are read, so files without weights will do. Measured are, per drafted token: pushing the draft and
settling and flushing it at its end; settling it behind every 64 tokens; and giving the reply back to the drafter, grown
by four tokens at a time. Prints medians of processor time in microseconds, and as its last line one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

from edge_wsd.decoding.bridge import Bridge, SameVocabulary, ThroughText
from edge_wsd.llama.model import Model
from edge_wsd.llama.vocab import Vocab
from edge_wsd.llama.vocabulary_verdict import compare_vocabularies

_TEXT = (
    "The quick brown fox doesn't jump over 12,345 lazy dogs; result[key] = f(x) + 1\n吾輩は猫である。名前はまだ無い。\n"
)
_EVERY, _AT_ONCE = 64, 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("drafter")
    parser.add_argument("base")
    parser.add_argument("--tokens", type=int, nargs="+", default=[64, 512, 4096, 16384], help="lengths of the drafts")
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    found: dict[str, dict[int, float]] = {}
    with (
        Model.load(arguments.drafter, vocab_only=True) as drafter,
        Model.load(arguments.base, vocab_only=True) as base,
    ):
        same = compare_vocabularies(drafter.vocab, base.vocab).same
        bridge = (SameVocabulary if same else ThroughText)(drafter.vocab, base.vocab)
        measure(bridge, drafter.vocab, 8)  # reads what is read once
        for n_tokens in arguments.tokens:
            rows = [measure(bridge, drafter.vocab, n_tokens) for _ in range(arguments.runs)]
            for name in rows[0]:
                found.setdefault(name, {})[n_tokens] = statistics.median(row[name] for row in rows)
    print(f"{'µs per token':32}" + "".join(f"{n:>10}" for n in arguments.tokens))
    for name, row in found.items():
        print(f"{name:32}" + "".join(f"{1e6 * row[n]:10.1f}" for n in arguments.tokens))
    print(json.dumps({"arguments": vars(arguments), "same_vocabulary": same, "seconds_per_token": found}))


def measure(bridge: Bridge, vocab: Vocab, n_tokens: int) -> dict[str, float]:
    """Seconds per token of each thing measured."""
    text_tokens = vocab.tokenize(_TEXT)
    drafted = (text_tokens * (n_tokens // len(text_tokens) + 1))[:n_tokens]
    found = {}

    draft = bridge.draft("\n", strip=True)
    start = time.process_time()
    for token in drafted:
        draft.push(token)
    found["push"] = time.process_time() - start
    start = time.process_time()
    draft.settle()
    draft.flush()
    found["settle and flush at the end"] = time.process_time() - start

    often = bridge.draft("\n", strip=True)
    start = time.process_time()
    for index, token in enumerate(drafted):
        often.push(token)
        if index % _EVERY == 0:
            often.settle()
    found[f"push, settled every {_EVERY}"] = time.process_time() - start

    echo, reply = bridge.echo("\n"), []
    start = time.process_time()
    for token in draft.tokens:
        reply.append(token)
        if len(reply) % _AT_ONCE == 0:
            echo.tokens(reply)
    found[f"back to the drafter, {_AT_ONCE} at once"] = time.process_time() - start
    return {name: seconds / n_tokens for name, seconds in found.items()}


if __name__ == "__main__":
    main()
