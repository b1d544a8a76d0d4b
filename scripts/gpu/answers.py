"""Times answers of a pair, of its base alone and of its drafter alone, in turns; one JSON object on stdout.

    python scripts/gpu/answers.py DRAFTER.gguf BASE.gguf [--prompt 512] [--answer 256] [--replies 1] [--repetitions 3]

Each figure is a median. Weak-to-strong decoding switches at token 32, so that what is compared does not depend on how
confident random weights are. llama-speculative-simple (--peer) follows once this project's models have left the memory:
a large pair is there only once. It drafts 3 and 8 tokens at a time, and the faster one counts.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from edge_wsd import Finished, ModelSettings, Options, Pair, Token

SWITCH_AT = 32
PEER_DRAFTS = (3, 8)
MOST_TRIES = 10
WORDS = ("list", "the", "largest", "files", "in", "every", "folder")
_DECODED = re.compile(r"decoded +(\d+) tokens in +[\d.]+ seconds, speed: +([\d.]+) t/s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("drafter", type=Path)
    parser.add_argument("base", type=Path)
    parser.add_argument("--prompt", type=int, default=512, help="tokens of the prompt, about (512)")
    parser.add_argument("--answer", type=int, default=256, help="tokens of the answer (256)")
    parser.add_argument("--replies", type=int, default=1, help="at once (1)")
    parser.add_argument("--repetitions", type=int, default=3, help="measurements of each (3)")
    parser.add_argument("--gpu-layers", type=int, default=-1, help="of both models (-1: all)")
    parser.add_argument("--peer", type=Path, help="llama-speculative-simple")
    arguments = parser.parse_args()
    prompts = [prompt_of(arguments.prompt, number) for number in range(arguments.replies)]
    found = times(arguments, prompts)
    if arguments.peer:
        found["peer_tokens_per_s"] = max(peer_rate(arguments, prompts[0], n) for n in PEER_DRAFTS)
    print(json.dumps(found))


def prompt_of(n_tokens: int, number: int) -> str:
    """About as many bytes as tokens are wanted: the vocabulary of a pair of random weights has bytes for tokens."""
    words = [WORDS[(number + position) % len(WORDS)] for position in range(n_tokens)]
    return " ".join(words)[:n_tokens]


def times(arguments: argparse.Namespace, prompts: list[str]) -> dict[str, float]:
    """Medians of all kinds of answers, by kind and figure."""
    length = Options(max_tokens=arguments.answer, stop_loops=False)
    kinds = {
        "base": length.with_changes(mode="base"),
        "drafter": length.with_changes(mode="drafter"),
        "wsd": length.with_changes(switch_at=SWITCH_AT),
        "plain": length.with_changes(switch_at=SWITCH_AT, speculation=False),
    }
    settings = ModelSettings(
        gpu_layers=arguments.gpu_layers,
        context_length=arguments.prompt + arguments.answer + 128,
        cache_ram=0,  # what is wiped must not come back from there
    )
    files = (arguments.drafter, arguments.base)
    common = {"drafter_settings": settings, "base_settings": settings, "drafter_template": "plain"}
    found: dict[str, list[float]] = {}
    with Pair.load(*files, parallel=arguments.replies, **common) as pair:
        for turn in range(arguments.repetitions + 1):
            for kind, options in kinds.items():
                row = answers(pair, prompts, options)
                for name, value in row.items():
                    if turn:  # the first turn warms the caches up
                        found.setdefault(f"{kind}_{name}", []).append(value)
    return {name: statistics.median(values) for name, values in found.items()}


def answers(pair: Pair, prompts: list[str], options: Options) -> dict[str, float]:
    """One answer to each prompt, at once, with both memories empty: until the last one ended, and of the first one."""
    pair.drafter.context.wipe()
    pair.base.context.wipe()
    begin = time.perf_counter()
    first, *others = [pair.session(options=options).stream(prompt) for prompt in prompts]
    first_s = 0.0
    for event in first:
        if isinstance(event, Token) and not first_s:
            first_s = time.perf_counter() - begin
        if isinstance(event, Finished):
            replies = [event.reply, *(other.result() for other in others)]
    total_s = time.perf_counter() - begin
    n_tokens = sum(reply.stats.n_tokens for reply in replies)
    return {"s": total_s, "first_s": first_s, "tokens": n_tokens, "tokens_per_s": n_tokens / (total_s - first_s)}


def peer_rate(arguments: argparse.Namespace, prompt: str, n_drafted: int) -> float:
    """Tokens per second that the peer decodes, its prompt not counted."""
    layers = arguments.gpu_layers if arguments.gpu_layers >= 0 else 999
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(prompt)
        file.flush()
        command = [
            arguments.peer,
            "-m",
            arguments.base,
            "-md",
            arguments.drafter,
            "-f",
            file.name,
            "-n",
            arguments.answer,
        ]
        command += [
            "-c",
            arguments.prompt + arguments.answer + 128,
            "-b",
            2048,
            "--temp",
            0,
            "--top-k",
            1,
            "--ignore-eos",
        ]
        command += ["--spec-type", "draft-simple", "--spec-draft-n-max", n_drafted, "-ngl", layers]
        command += ["--spec-draft-ngl", layers, "-lv", 4]
        words = [str(word) for word in command]
        return statistics.median(one_rate(words) for _ in range(arguments.repetitions))


def one_rate(command: list[str]) -> float:
    """A thread of its own writes the peer's log, and the end is lost where the program ends first: then again."""
    for _ in range(MOST_TRIES):
        done = subprocess.run(command, check=False, capture_output=True, text=True, errors="replace")
        if done.returncode:
            break
        if found := _DECODED.search(done.stderr):
            return float(found[2])
    sys.exit(f"{command[0]} ended with status {done.returncode}, and told no rate:\n{done.stderr[-2000:]}")


if __name__ == "__main__":
    main()
