"""What the fastest kernels of the CPU are worth: prompts and decoding with weights rearranged for it, and without.

    python scripts/bench_kernels.py MODEL.gguf... [--build FOLDER] [--prompt 256] [--tokens 24] [--rounds 5]

FOLDER holds the libraries of another build of llama.cpp, which is measured as well. Every way of running a model is a
process of its own that holds it in memory; they take turns, so that a drifting or busy machine hits all alike. Prints
medians in tokens per second, and as its last line one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path

WAYS = ("on", "off", "on, other build")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--build", type=Path, help="libraries of another build of llama.cpp")
    parser.add_argument("--prompt", type=int, default=256, help="tokens of the prompt (256)")
    parser.add_argument("--tokens", type=int, default=24, help="tokens decoded behind it, one by one (24)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--hold", choices=("on", "off"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.hold:
        hold(arguments)
        return
    print(f"{'model':14}{'extra buffers':18}{'prompt':>8}{'decoding':>10}   tokens/s")
    found: dict[str, dict[str, list[float]]] = {}
    for path in arguments.models:
        found[path.stem] = measure(path, arguments)
        for way, (prompt, decoding) in found[path.stem].items():
            print(f"{path.stem:14}{way:18}{prompt:8.1f}{decoding:10.1f}", flush=True)
    print(json.dumps(found))


def measure(path: Path, arguments: argparse.Namespace) -> dict[str, list[float]]:
    """Median rates of the prompt and of decoding, by way."""
    rates: dict[str, list[tuple[float, float]]] = defaultdict(list)
    with ExitStack() as stack:
        held = {way: stack.enter_context(_start(path, way, arguments)) for way in WAYS if _is_wanted(way, arguments)}
        for turn in range(arguments.rounds + 1):
            order = list(held)[turn % len(held) :] + list(held)[: turn % len(held)]
            for way in order:
                child = held[way]
                assert child.stdin and child.stdout
                child.stdin.write("go\n")
                child.stdin.flush()
                rate = tuple(json.loads(child.stdout.readline()))
                if turn:  # the first one warms up
                    rates[way].append(rate)
        for child in held.values():
            assert child.stdin
            child.stdin.close()
    return {way: [statistics.median(column) for column in zip(*rows, strict=True)] for way, rows in rates.items()}


def _is_wanted(way: str, arguments: argparse.Namespace) -> bool:
    return way != WAYS[2] or arguments.build is not None


def _start(path: Path, way: str, arguments: argparse.Namespace) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, str(path), "--hold", way.partition(",")[0]]
    command += ["--prompt", str(arguments.prompt), "--tokens", str(arguments.tokens)]
    command += ["--threads", str(arguments.threads)] if arguments.threads else []
    other = {"LLAMA_CPP_LIB_PATH": str(arguments.build.absolute())} if way == WAYS[2] else {}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    return subprocess.Popen(command, env={**os.environ, **other}, text=True, **pipes)


def hold(arguments: argparse.Namespace) -> None:
    """Loads the model and measures once for each line on stdin."""
    from edge_wsd.llama.context import Context
    from edge_wsd.llama.model import Model
    from edge_wsd.llama.settings import ModelSettings

    n_prompt, n_tokens = arguments.prompt, arguments.tokens
    settings = ModelSettings(
        extra_buffers=arguments.hold, context_length=n_prompt + n_tokens, threads=arguments.threads
    )
    with Model.load(arguments.models[0], settings) as model, Context(model, settings) as context:
        sequence = context.sequence()
        for _ in sys.stdin:
            sequence.clear()
            start = time.perf_counter()
            sequence.extend(100 + index % 100 for index in range(n_prompt))
            middle = time.perf_counter()
            for index in range(n_tokens):
                sequence.extend([100 + index % 100])
            end = time.perf_counter()
            print(json.dumps([n_prompt / (middle - start), n_tokens / (end - middle)]), flush=True)


if __name__ == "__main__":
    main()
