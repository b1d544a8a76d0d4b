"""Drafter and base at the same time, each in a thread of its own, against one after the other.

    python scripts/bench_overlap.py DRAFTER.gguf BASE.gguf [--replies 1 4] [--rounds 5] [--threads 1]

The same answers are written in turns by a pair with `overlap` "off" and by one with "on". Medians over the rounds, of
which the first warms up and does not count. On one processor each model needs cores of its own: `--threads` is what
each gets. The numbers of tokens drafted and proposed are pinned, so that both write the same way.
"""

from __future__ import annotations

import argparse
import statistics
from contextlib import ExitStack

from edge_wsd import ModelSettings, Options, Pair

QUESTIONS = (
    "What should everybody know about rivers?",
    "Explain bread to a child.",
    "How do I list the files of a folder by size?",
    "Why is the sky blue?",
)
SYSTEM = "Answer in short sentences and name your sources. " * 12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("drafter")
    parser.add_argument("base")
    parser.add_argument("--replies", type=int, nargs="+", default=[1, 4], help="answers at once (1 4)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=64, help="length of the answers (64)")
    parser.add_argument("--switch", type=int, default=24, help="tokens that the drafter writes (24)")
    parser.add_argument("--propose", type=int, default=4, help="tokens proposed behind that (4)")
    parser.add_argument("--threads", type=int, default=1, help="of each model (1)")
    given = parser.parse_args()
    options = Options(max_tokens=given.tokens, switch_at=given.switch, chunk=8, propose=given.propose, stop_loops=False)
    settings = ModelSettings(context_length=1024, threads=given.threads, cache_ram=0)
    with ExitStack() as loaded:
        pairs = {
            way: loaded.enter_context(
                Pair.load(
                    given.drafter,
                    given.base,
                    drafter_settings=settings,
                    base_settings=settings,
                    drafter_template="plain",
                    parallel=max(given.replies),
                    overlap=way,
                )
            )
            for way in ("off", "on")
        }
        for n_replies in given.replies:
            compare(pairs, options, n_replies, given.rounds)


def compare(pairs: dict[str, Pair], options: Options, n_replies: int, n_rounds: int) -> None:
    """A line for each way: seconds from the question to the first token and to the end of the answer."""
    times: dict[str, list[tuple[float, float]]] = {way: [] for way in pairs}
    for number in range(n_rounds + 1):
        for way, pair in pairs.items():
            took = measured(pair, options, n_replies, f"({number}) ")
            if number:
                times[way].append(took)
    print(f"\n{n_replies} at once: seconds to the first token and to the end, and of the whole to that without overlap")
    before = statistics.median(whole for _, whole in times["off"])
    for way, some in times.items():
        first, whole = (statistics.median(column) for column in zip(*some, strict=True))
        spread = f"{min(whole for _, whole in some):.2f} to {max(whole for _, whole in some):.2f}"
        print(f"{way:>4} {first:7.3f} {whole:8.2f}  ({spread})  {whole / before:.2f}")


def measured(pair: Pair, options: Options, n_replies: int, start: str) -> tuple[float, float]:
    """Means over the answers. Each question begins with `start`, or its prompt would be in memory still."""
    first, whole = [], []
    for at in range(0, len(QUESTIONS), n_replies):
        asked = [
            pair.session(system=start + SYSTEM, options=options).stream(question)
            for question in QUESTIONS[at : at + n_replies]
        ]
        for stats in (stream.result().stats for stream in asked):
            first.append(stats.ttft_s)
            whole.append(stats.total_s)
    return statistics.fmean(first), statistics.fmean(whole)


if __name__ == "__main__":
    main()
