"""Times llama-speculative-simple as `edge-wsd bench` does, but alone: a GPU may have room for a pair only once.

    python scripts/gpu/peer.py PROGRAM DRAFTER.gguf BASE.gguf [--prompt 512] [--answer 256] [--repetitions 3]

Prints tokens per second behind the prompt as JSON, the best median over --propose.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

from edge_wsd.bench.cases import Workload
from edge_wsd.bench.peers import LlamaSpeculativeSimple, PeerFiles
from edge_wsd.bench.prompts import prompt_of
from edge_wsd.llama.threads import physical_cores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("drafter", type=Path)
    parser.add_argument("base", type=Path)
    parser.add_argument("--prompt", type=int, default=512, help="tokens of the prompt (512)")
    parser.add_argument("--answer", type=int, default=256, help="tokens of the answer (256)")
    parser.add_argument("--repetitions", type=int, default=3, help="measurements of each (3)")
    parser.add_argument("--propose", type=int, nargs="+", default=[3, 8], help="tokens that it drafts at once (3 8)")
    arguments = parser.parse_args()
    work = Workload(arguments.prompt, arguments.answer)
    rates = {}
    for n_proposed in arguments.propose:
        files = PeerFiles(
            drafter=arguments.drafter,
            base=arguments.base,
            threads=physical_cores(),
            batch=(n_batch := max(512, arguments.prompt)),
            micro_batch=n_batch,
            flash="auto",
            kv_type="f16",
            drafter_layers=-1,
            base_layers=-1,
            propose=n_proposed,
            most_at_once=1,
            longest=arguments.prompt + arguments.answer,
        )
        peer = LlamaSpeculativeSimple(arguments.program, files)
        prompt = prompt_of(arguments.prompt, 0, n_tokens)
        found = [peer.measure(work, [prompt]).base_decode_tps for _ in range(arguments.repetitions)]
        rates[n_proposed] = statistics.median(rate for rate in found if rate is not None)
    print(json.dumps({"peer_tokens_per_s": max(rates.values()), "peer_rates": rates}))


def n_tokens(text: str) -> int:
    """In the vocabulary of scripts/random_model.py: bytes, one merge, and the token that a text begins with."""
    return 1 + len(text) - text.count(" t")


if __name__ == "__main__":
    main()
