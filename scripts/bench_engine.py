"""Many replies over one pair: replies per second, what is read again, who waits for whom, and what the host costs.

    python scripts/bench_engine.py                                  # the embedded pair
    python scripts/bench_engine.py DRAFTER.gguf BASE.gguf --tokens 64

Numbers of replies at once are measured in turns within one process, `--rounds` times; medians are printed.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from edge_wsd import ModelSettings, Options, Pair, Reading, Token
from edge_wsd.demo.tasks import load_tasks
from edge_wsd.llama.context import Context
from edge_wsd.llama.onward import NativeSteps

AT_ONCE = (1, 2, 4, 8, 16)
N_REPLIES = 16
LONG_PROMPT = 1500
"""Tokens."""
Times = tuple[float, float]
"""Seconds by the clock, and of a thread's CPU time."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, metavar="DRAFTER BASE", help="GGUF files (the embedded pair)")
    parser.add_argument("--tokens", type=int, default=48, help="length of each reply (48)")
    parser.add_argument("--mode", default="wsd", choices=("wsd", "base", "drafter"), help="who writes (wsd)")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each number (3)")
    parser.add_argument("--threads", type=int, help="CPU threads (as chosen)")
    arguments = parser.parse_args()
    options = Options(max_tokens=arguments.tokens, mode=arguments.mode)
    questions = [f"How do I {task.phrasings[0]}?" for task in load_tasks()[:N_REPLIES]]
    throughput(arguments, questions, options)
    with opened(arguments, 2) as pair:
        alternating(pair, questions, options)
        waiting(pair, questions, options, arguments.rounds)


@contextmanager
def opened(arguments: argparse.Namespace, parallel: int) -> Iterator[Pair]:
    settings = ModelSettings(threads=arguments.threads, context_length=2048)
    given = {"drafter_settings": settings, "base_settings": settings, "parallel": parallel}
    files = arguments.files
    with Pair.load(*files, drafter_template="plain", **given) if files else Pair.demo(**given) as pair:
        yield pair


def throughput(arguments: argparse.Namespace, questions: list[str], options: Options) -> None:
    """Replies and tokens per second; and the host's share of a token: what the engine's thread takes between decodes.

    The share is told by the clock, which counts what readers and other programs take from it, and in CPU time.
    """
    seconds: dict[int, list[float]] = {n: [] for n in AT_ONCE}
    host: dict[int, list[float]] = {n: [] for n in AT_ONCE}
    host_cpu: dict[int, list[float]] = {n: [] for n in AT_ONCE}
    n_tokens = 0
    for _ in range(arguments.rounds):
        for n in AT_ONCE:
            with opened(arguments, n) as pair, between_decodes() as (gaps, ended):
                pair.generate(questions[0], max_tokens=2)
                gaps.clear()
                ended.clear()
                began = time.perf_counter()
                streams = [pair.session(options=options).stream(question) for question in questions]
                n_tokens = sum(stream.result().stats.n_tokens for stream in streams)
                seconds[n].append(time.perf_counter() - began)
                by_clock, in_cpu = map(sum, zip(*gaps, strict=True))
                host[n].append(by_clock / n_tokens)
                host_cpu[n].append(in_cpu / n_tokens)
    print(f"{len(questions)} replies ({options.mode}), {n_tokens} tokens")
    print("at once  replies/s  tokens/s  times one  host, us per token  of CPU time")
    alone = statistics.median(seconds[1])
    for n in AT_ONCE:
        took = statistics.median(seconds[n])
        shares = (1e6 * statistics.median(host[n]), 1e6 * statistics.median(host_cpu[n]))
        figures = (len(questions) / took, n_tokens / took, alone / took, *shares)
        print("{:7}  {:9.2f}  {:8.1f}  {:9.2f}  {:18.0f}  {:11.0f}".format(n, *figures))


@contextmanager
def between_decodes() -> Iterator[tuple[list[Times], dict[int, Times]]]:
    """From each decode to the next one of the same thread, where steps in native code are one; and when the last one
    of a thread ended."""
    gaps: list[Times] = []
    ended: dict[int, Times] = {}

    def timed(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: object) -> object:
            thread, now, cpu = threading.get_ident(), time.perf_counter(), time.thread_time()
            if thread in ended:
                gaps.append((now - ended[thread][0], cpu - ended[thread][1]))
            try:
                return real(*arguments)
            finally:
                ended[thread] = (time.perf_counter(), time.thread_time())

        return call

    with (
        patch.object(Context, "_llama_decode", timed(Context._llama_decode)),
        patch.object(NativeSteps, "take", timed(NativeSteps.take)),
    ):
        yield gaps, ended


def alternating(pair: Pair, questions: list[str], options: Options) -> None:
    """Two conversations in turns: how much of each prompt is in memory still."""
    chats = [pair.session(system="Answer briefly.", options=options) for _ in range(2)]
    read = reused = 0
    for turn, question in enumerate(questions[:6]):
        for chat in chats:
            stats = chat.ask(question).stats
            if turn:
                read += stats.drafter_prompt_tokens + stats.base_prompt_tokens
                reused += stats.drafter_reused_tokens + stats.base_reused_tokens
    print(f"two conversations in turns, from the second turn on: {reused} of {read} prompt tokens were in memory")


def waiting(pair: Pair, questions: list[str], options: Options, n_runs: int) -> None:
    """The longest gap between two tokens of a reply, by itself and while another reads a long prompt."""
    alone = options.with_changes(max_tokens=1, mode="base")
    n_words = LONG_PROMPT * 100 // len(pair.base.model.vocab.tokenize(" word" * 100))

    def longest_gap(number: int, *, beside: bool) -> tuple[float, float]:
        other = None
        if beside:  # each time another text, or it would be in memory still
            other = pair.session(options=alone).stream(f"{number}" + " word" * n_words)
            next(event for event in other if isinstance(event, Reading))
        began, times = time.perf_counter(), []
        for event in pair.session(options=options).stream(questions[0]):
            if isinstance(event, Token):
                times.append(time.perf_counter())
        if other is not None:
            other.close()
        gaps = [b - a for a, b in zip([began, *times], times, strict=False)]
        return times[-1] - began, max(gaps)

    for beside in (False, True):
        took = [longest_gap(number, beside=beside) for number in range(n_runs)]
        whole, gap = (statistics.median(column) for column in zip(*took, strict=True))
        where = f"while {LONG_PROMPT} tokens are read" if beside else "by itself"
        print(f"a reply {where}: {1e3 * whole:.0f} ms, longest wait for a token {1e3 * gap:.0f} ms")


if __name__ == "__main__":
    main()
