"""Many replies over one pair: replies per second, what is read again, who waits for whom, and what the host costs.

    python scripts/bench_engine.py                                  # the embedded pair
    python scripts/bench_engine.py DRAFTER.gguf BASE.gguf --tokens 64

Numbers of replies at once are measured in turns within one process, `--rounds` times; medians are printed.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from edge_wsd import ModelSettings, Options, Pair, Reading, Token
from edge_wsd.demo.tasks import load_tasks
from edge_wsd.llama.context import Context

AT_ONCE = (1, 2, 4, 8, 16)
N_REPLIES = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, metavar="DRAFTER BASE", help="GGUF files (the embedded pair)")
    parser.add_argument("--tokens", type=int, default=48, help="length of each reply (48)")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each number (3)")
    parser.add_argument("--threads", type=int, help="CPU threads (as chosen)")
    arguments = parser.parse_args()
    options = Options(max_tokens=arguments.tokens)
    questions = [f"How do I {task.phrasings[0]}?" for task in load_tasks()[:N_REPLIES]]
    throughput(arguments, questions, options)
    with opened(arguments, 2) as pair:
        alternating(pair, questions, options)
        waiting(pair, questions, options)


@contextmanager
def opened(arguments: argparse.Namespace, parallel: int) -> Iterator[Pair]:
    settings = ModelSettings(threads=arguments.threads, context_length=2048)
    given = {"drafter_settings": settings, "base_settings": settings, "parallel": parallel}
    with Pair.load(*arguments.files, **given) if arguments.files else Pair.demo(**given) as pair:
        yield pair


def throughput(arguments: argparse.Namespace, questions: list[str], options: Options) -> None:
    """Replies and tokens per second; and the host's share of a token, which is what is not spent inside llama.cpp."""
    seconds: dict[int, list[float]] = {n: [] for n in AT_ONCE}
    host: dict[int, list[float]] = {n: [] for n in AT_ONCE}
    n_tokens = 0
    for _ in range(arguments.rounds):
        for n in AT_ONCE:
            with opened(arguments, n) as pair, decoding_seconds() as inside:
                pair.generate(questions[0], max_tokens=2)
                inside.clear()
                began = time.perf_counter()
                streams = [pair.session(options=options).stream(question) for question in questions]
                n_tokens = sum(stream.result().stats.n_tokens for stream in streams)
                seconds[n].append(time.perf_counter() - began)
                host[n].append((seconds[n][-1] - sum(inside)) / n_tokens)
    print(f"{len(questions)} replies, {n_tokens} tokens")
    print("at once  replies/s  tokens/s  times one  host, us per token")
    alone = statistics.median(seconds[1])
    for n in AT_ONCE:
        took = statistics.median(seconds[n])
        figures = (len(questions) / took, n_tokens / took, alone / took, 1e6 * statistics.median(host[n]))
        print("{:7}  {:9.2f}  {:8.1f}  {:9.2f}  {:18.0f}".format(n, *figures))


@contextmanager
def decoding_seconds() -> Iterator[list[float]]:
    """Seconds of every call of llama_decode."""
    taken: list[float] = []
    real = Context._llama_decode

    def timed(self: Context) -> int:
        began = time.perf_counter()
        try:
            return real(self)
        finally:
            taken.append(time.perf_counter() - began)

    Context._llama_decode = timed  # type: ignore[method-assign]
    try:
        yield taken
    finally:
        Context._llama_decode = real  # type: ignore[method-assign]


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


def waiting(pair: Pair, questions: list[str], options: Options) -> None:
    """The longest gap between two tokens of a reply, by itself and while another reads a long prompt."""
    alone = options.with_changes(max_tokens=1, mode="base")

    def longest_gap(number: int, *, beside: bool) -> tuple[float, float]:
        other = None
        if beside:  # each time another text, or it would be in memory still
            other = pair.session(options=alone).stream(f"{number}" + " word" * 1500)
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
        took = [longest_gap(number, beside=beside) for number in range(5)]
        whole, gap = (statistics.median(column) for column in zip(*took, strict=True))
        where = "while 1,500 words are read" if beside else "by itself"
        print(f"a reply {where}: {1e3 * whole:.0f} ms, longest wait for a token {1e3 * gap:.0f} ms")


if __name__ == "__main__":
    main()
