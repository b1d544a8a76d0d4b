"""The number of tokens that are proposed: as many as pay, against a sweep of fixed numbers.

    python scripts/bench_pace.py DRAFTER.gguf BASE.gguf [--replies 1 4] [--numbers 0 1 2 4 8 16] [--rounds 5]

The same answers are written in turns with each `--propose` and with none given. What counts is the time of a token
behind the switch, which is forced; medians over the rounds, of which the first warms up and does not count.
`--before` measures what is drafted before the switch instead: each `--chunk` and none, with the pair's own switches
and without proposals behind them; what counts is the time of a token of the whole answer. The last line is one JSON
object.
"""

from __future__ import annotations

import argparse
import json
import statistics

from edge_wsd import ModelSettings, Options, Pair, Reply

QUESTIONS = (
    "What should everybody know about rivers?",
    "Explain bread to a child.",
    "How do I list the files of a folder by size?",
    "Why is the sky blue?",
)
Times = dict[str, list[float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("drafter")
    parser.add_argument("base")
    parser.add_argument("--replies", type=int, nargs="+", default=[1, 4], help="answers at once (1 4)")
    parser.add_argument("--numbers", type=int, nargs="+", help="the sweep (0 1 2 4 8 16; --before: 1 4 8 16 32)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=96, help="length of the answers")
    parser.add_argument("--questions", type=int, default=len(QUESTIONS), help=f"answers of a round ({len(QUESTIONS)})")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--drafter-template", default="chat", help="as edge-wsd's (chat)")
    parser.add_argument("--before", action="store_true")
    given = parser.parse_args()
    numbers = given.numbers or ([1, 4, 8, 16, 32] if given.before else [0, 1, 2, 4, 8, 16])
    settings = ModelSettings(
        context_length=(given.tokens + 128) * max(given.replies), threads=given.threads, cache_ram=0
    )
    found = {}
    with Pair.load(
        given.drafter,
        given.base,
        drafter_settings=settings,
        base_settings=settings,
        drafter_template=given.drafter_template,
        parallel=max(given.replies),
    ) as pair:
        for n_replies in given.replies:
            ways = {str(n): options(given, n) for n in numbers} | {"as many as pay": options(given, None)}
            times: Times = {way: [] for way in ways}
            for number in range(given.rounds + 1):
                for way, chosen in ways.items():
                    time_s = measured(pair, chosen, QUESTIONS[: given.questions], n_replies, before=given.before)
                    if number:
                        times[way].append(time_s)
            found[str(n_replies)] = summary(times, n_replies)
    print(json.dumps(found))


def options(given: argparse.Namespace, n: int | None) -> Options:
    if given.before:
        return Options(max_tokens=given.tokens, chunk=n, speculation=False)
    return Options(max_tokens=given.tokens, switch_at=6, propose=n, stop_loops=False)


def measured(pair: Pair, chosen: Options, questions: tuple[str, ...], n_replies: int, *, before: bool) -> float:
    """Seconds of a token, on average over the answers."""
    seconds: list[float] = []
    for first in range(0, len(questions), n_replies):
        asked = [pair.session(options=chosen).stream(question) for question in questions[first : first + n_replies]]
        seconds += [token_s(stream.result(), before=before) for stream in asked]
    return statistics.fmean(seconds)


def token_s(reply: Reply, *, before: bool) -> float:
    stats = reply.stats
    if before:
        return (stats.total_s - stats.queued_s) / stats.n_tokens
    assert stats.base_tps is not None
    return 1 / stats.base_tps


def summary(times: Times, n_replies: int) -> dict[str, float]:
    medians = {way: statistics.median(some) for way, some in times.items()}
    print(f"\n{n_replies} at once: ms, least to most, and to the best fixed number")
    best = min(seconds for way, seconds in medians.items() if way.isdigit())
    for way, seconds in medians.items():
        spread = f"{1e3 * min(times[way]):.1f} to {1e3 * max(times[way]):.1f}"
        print(f"{way:>15} {1e3 * seconds:8.1f}  ({spread})  {seconds / best:.3f}")
    return medians


if __name__ == "__main__":
    main()
