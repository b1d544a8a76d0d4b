"""Reading a prompt, against llama.cpp's own llama-bench on the same file, in turns: tokens per second.

    python scripts/bench_prompt.py MODEL.gguf --llama-bench PATH [--tokens 512] [--threads 1] [--rounds 3]

llama-bench computes as many tokens at once as edge-wsd does, with the same attention. Of edge-wsd the context alone is
measured, and the engine, which reads the prompt of a reply. llama-bench must have been built like the library that
edge-wsd loads, or the builds are compared.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from edge_wsd.decoding.events import Reply
from edge_wsd.decoding.protocols import Pass, Writing
from edge_wsd.engine.engine import Engine, Memories
from edge_wsd.llama.attention import Attention
from edge_wsd.llama.context import Context
from edge_wsd.llama.model import Model
from edge_wsd.llama.settings import ModelSettings

Measure = Callable[[], float]
"""Reads a prompt once; tokens per second."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--llama-bench", type=Path, required=True, help="the program")
    parser.add_argument("--tokens", type=int, default=512, help="length of the prompt (512)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (1)")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each (3)")
    arguments = parser.parse_args()
    settings = ModelSettings(threads=arguments.threads, context_length=arguments.tokens + 256)
    with Model.load(arguments.model, settings) as model, Context(model, settings, n_sequences=4) as context:
        ways: dict[str, Measure] = {
            "llama-bench": lambda: of_llama_bench(arguments, Attention.of(settings, on_gpu=model.on_gpu)),
            "context": lambda: of_context(context, arguments.tokens),
            "engine": lambda: of_engine(context, arguments.tokens),
        }
        found: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(arguments.rounds):
            for way, measure in ways.items():
                found[way].append(in_own_thread(measure))
    print(f"{arguments.model}: {arguments.tokens} tokens, {arguments.threads} threads; median tokens/s (least to most)")
    for way, rates in found.items():
        middle = statistics.median(rates)
        share = statistics.median(rate / other for rate, other in zip(rates, found["llama-bench"], strict=True))
        print(f"{way:12} {middle:8.1f} ({min(rates):.1f} to {max(rates):.1f})  {share:.3f} of llama-bench")


def in_own_thread(measure: Measure) -> float:
    """OpenMP keeps threads for each thread that has computed, and lets all of them wait asleep once there are more than
    processors: what another way has left would slow this one by 6 %. They end with their thread.
    """
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(measure).result()


def of_llama_bench(arguments: argparse.Namespace, attention: Attention) -> float:
    flash = "1" if attention.flash == "on" else "0"
    words = ["-m", arguments.model, "-p", arguments.tokens, "-n", 0, "-r", 1, "-t", arguments.threads, "-o", "json"]
    words += ["-ub", attention.micro_batch, "-fa", flash]
    done = subprocess.run([arguments.llama_bench, *map(str, words)], capture_output=True, check=True, text=True)
    return float(json.loads(done.stdout)[0]["avg_ts"])


def some_tokens(context: Context, n: int) -> list[int]:
    return [random.randrange(3, context.n_vocab) for _ in range(n)]


def of_context(context: Context, n: int) -> float:
    sequence, tokens = context.sequence(), some_tokens(context, n)
    began = time.perf_counter()
    sequence.extend(tokens)
    seconds = time.perf_counter() - began
    sequence.close()
    return n / seconds


def of_engine(context: Context, n: int) -> float:
    engine, tokens = Engine({"base": context}), some_tokens(context, n)

    def write(memories: Memories) -> Writing[Reply]:
        sequence = memories["base"].take(tokens)
        yield Pass(sequence, tokens, [])
        sequence.clear()  # attention would cover it in the next round
        memories["base"].give_back(sequence)
        return Reply("", (), (), "length", None)

    began = time.perf_counter()
    engine.submit(write).result()
    seconds = time.perf_counter() - began
    engine.close()
    return n / seconds


if __name__ == "__main__":
    main()
