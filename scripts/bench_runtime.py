"""Speed of a pair: first token, whole answers, and the host's share of every token.

    python scripts/bench_runtime.py DRAFTER.gguf BASE.gguf [--prompt-tokens 400] [--tokens 128] [--runs 5]

Measures, interleaved in one process so that a drifting machine hits all sides alike:
- time to first token of the pair, of the drafter alone and of the base alone, behind the same prompt, caches cleared;
- time of a whole answer of the pair (speculation on and off) and of the base alone;
- host time per token: what is spent outside `llama_decode` while the base writes alone, token by token.
Prints medians, and as its last line one JSON object. The prompts are plain, so any two GGUF files will do.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import llama_cpp

from edge_wsd import Finished, ModelSettings, Options, Pair, Token


class DecodeClock:
    """Adds up the time inside `llama_decode`."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._decode = llama_cpp.llama_decode
        llama_cpp.llama_decode = self

    def __call__(self, *arguments: object) -> int:
        start = time.perf_counter()
        code = self._decode(*arguments)
        self.seconds += time.perf_counter() - start
        return code


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("drafter")
    parser.add_argument("base")
    parser.add_argument("--prompt-tokens", type=int, default=400)
    parser.add_argument("--tokens", type=int, default=128, help="length of the answers")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, help="CPU threads per model")
    parser.add_argument("--chunk", type=int, default=Options.chunk)
    parser.add_argument("--threshold", type=float, default=Options.threshold)
    parser.add_argument("--switch-at", type=int, help="force the switch there instead of waiting for confidence")
    arguments = parser.parse_args()

    clock = DecodeClock()
    settings = ModelSettings(
        context_length=arguments.prompt_tokens + arguments.tokens + 256,
        threads=arguments.threads,
        cache_ram=0,  # what is wiped must not come back from there
    )
    with Pair.load(
        arguments.drafter,
        arguments.base,
        drafter_settings=settings,
        base_settings=settings,
        drafter_template="plain",
    ) as pair:
        print_report(measure(pair, arguments, clock), arguments)


def measure(pair: Pair, arguments: argparse.Namespace, clock: DecodeClock) -> dict[str, list[float]]:
    """Seconds of each thing measured, one entry per run."""
    prompt = prompt_of(pair, arguments.prompt_tokens)
    common = {"chunk": arguments.chunk, "threshold": arguments.threshold, "switch_at": arguments.switch_at}
    pair_options = Options(max_tokens=arguments.tokens, **common)
    variants: dict[str, Options] = {
        "wsd": pair_options,
        "wsd, no speculation": pair_options.with_changes(speculation=False),
        "base": Options(mode="base", max_tokens=arguments.tokens),
        "drafter": Options(mode="drafter", max_tokens=arguments.tokens),
    }
    found: dict[str, list[float]] = {"host per token": []}
    for run in range(arguments.runs + 1):
        for name, options in variants.items():
            row = answer(pair, prompt, options)
            if run == 0:
                continue  # warms the caches up
            for key, seconds in row.items():
                found.setdefault(f"{name}: {key}", []).append(seconds)
        host = host_time_per_token(pair, prompt, arguments.tokens, clock)
        if run:
            found["host per token"].append(host)
    return found


def prompt_of(pair: Pair, n_tokens: int) -> str:
    """A text that is about `n_tokens` long in the base's tokens, frame included."""
    words: list[str] = []
    encode: Callable[[str], list[int]] = pair.base.model.vocab.tokenize
    n_frame = 12
    while len(encode(" ".join(words))) < n_tokens - n_frame:
        words.append(("list", "the", "largest", "files", "in", "every", "folder")[len(words) % 7])
    return " ".join(words)


def answer(pair: Pair, prompt: str, options: Options) -> dict[str, float]:
    """One answer with both memories empty. Replies that end early are told, since they would compare unfairly."""
    pair.drafter.context.wipe()
    pair.base.context.wipe()
    start = time.perf_counter()
    first = None
    for event in pair.session(options=options).stream(prompt):
        if first is None and isinstance(event, Token):
            first = time.perf_counter() - start
        if isinstance(event, Finished):
            stats = event.reply.stats
            if stats.drafter_reused_tokens or stats.base_reused_tokens:
                raise AssertionError("a memory was not empty, so this is no measurement")
            n_tokens = stats.n_tokens
            row = {"first token": first or 0.0, "whole answer": time.perf_counter() - start, "tokens": float(n_tokens)}
            if event.reply.switch is not None:
                row["switch"] = float(event.reply.switch.index)
            return row
    raise AssertionError("a reply ends with Finished")


def host_time_per_token(pair: Pair, prompt: str, n_tokens: int, clock: DecodeClock) -> float:
    """Seconds outside `llama_decode` per token, while the base writes alone."""
    stream = pair.session(options=Options(mode="base", max_tokens=n_tokens)).stream(prompt)
    next(stream)
    clock.seconds = 0.0
    start = time.perf_counter()
    n = sum(isinstance(event, Token) for event in stream)
    return (time.perf_counter() - start - clock.seconds) / max(n, 1)


def print_report(found: dict[str, list[float]], arguments: argparse.Namespace) -> None:
    medians = {name: statistics.median(values) for name, values in found.items()}
    for name, value in medians.items():
        unit = f"{1000 * value:10.2f} ms" if not name.endswith(("tokens", "switch")) else f"{value:10.0f}"
        print(f"{name:36} {unit}   [{min(found[name]):.4f} .. {max(found[name]):.4f}]")
    ratios = {
        f"{key}: {a} / {b}": statistics.median(
            x / y for x, y in zip(found[f"{a}: {key}"], found[f"{b}: {key}"], strict=True)
        )
        for key, a, b in (
            ("first token", "wsd", "drafter"),
            ("first token", "wsd", "base"),
            ("whole answer", "wsd", "base"),
            ("whole answer", "wsd, no speculation", "base"),
        )
    }
    for name, ratio in ratios.items():
        print(f"{name:60} {ratio:.3f}")
    print(json.dumps({"arguments": vars(arguments), "median": medians, "ratio": ratios}))


if __name__ == "__main__":
    main()
