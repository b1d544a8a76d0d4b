"""What `--exact` guarantees and costs: answers that differ with speculation and without, and the time they take.

    python scripts/bench_exact.py DRAFTER.gguf BASE.gguf [--questions 20] [--tokens 100] [--base-template chat]

Asks each question four times in turns, with and without speculation, of a pair as it is loaded by default and of the
same files as exact models. Prints how many of the answers differ (tokens, and position of the switch), and the times:
medians over all answers, and medians of the ratios within one question, against plain decoding after the switch. The
last line is one JSON object.

A base whose weights are rearranged for the processor: `edge-wsd quantize MODEL.gguf BASE.gguf Q4_0`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from edge_wsd import ModelSettings, Options, Pair, Reply

PLAIN = "default, no speculation"
WAYS = {
    PLAIN: (False, False),
    "default": (False, True),
    "exact, no speculation": (True, False),
    "exact": (True, True),
}
_SUBJECTS = (
    "rivers",
    "bread",
    "the moon",
    "bicycles",
    "a good letter",
    "trees",
    "prime numbers",
    "tea",
    "maps",
    "music",
)
_PHRASES = (
    "What should everybody know about {}?",
    "Explain {} to a child.",
    "Write a short story about {}.",
    "List five facts about {}.",
    "Why do people care about {}?",
)


@dataclass(frozen=True, slots=True)
class Answer:
    """Seconds from the call to the first token and to the end; ids of the tokens, and where the base took over."""

    first_s: float
    whole_s: float
    ids: tuple[int, ...]
    switch: int | None
    n_accepted: int
    base_passes: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("drafter")
    parser.add_argument("base")
    parser.add_argument("--questions", type=int, default=20, help=f"at most {len(_SUBJECTS) * len(_PHRASES)}")
    parser.add_argument("--tokens", type=int, default=100, help="length of the answers")
    parser.add_argument("--runs", type=int, default=1, help="how often each question is asked in each way")
    parser.add_argument("--threads", type=int, help="CPU threads per model")
    parser.add_argument("--base-template", default="plain", choices=("plain", "chat"))
    parser.add_argument("--flash-attention", default="auto", choices=("auto", "on", "off"))
    parser.add_argument("--switch-at", type=int, help="force the switch there instead of waiting for confidence")
    parser.add_argument("--temperature", type=float, default=0.0, help="with seed 1")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        pairs = {exact: stack.enter_context(load(arguments, exact)) for exact in (False, True)}
        print_report(ask_all(pairs, arguments), arguments)


def load(arguments: argparse.Namespace, exact: bool) -> Pair:
    settings = ModelSettings(
        context_length=arguments.tokens + 256,
        threads=arguments.threads,
        flash_attention=arguments.flash_attention,
        exact=exact,
        cache_ram=0,  # what is wiped must not come back from there
    )
    return Pair.load(
        arguments.drafter,
        arguments.base,
        drafter_settings=settings,
        base_settings=settings,
        base_template=arguments.base_template,
    )


def questions() -> Iterator[str]:
    for phrase in _PHRASES:
        for subject in _SUBJECTS:
            yield phrase.format(subject)


def ask_all(pairs: dict[bool, Pair], arguments: argparse.Namespace) -> dict[str, list[Answer]]:
    """Answers by way, in the same order of questions. One question before them warms up."""
    options = Options(
        max_tokens=arguments.tokens, switch_at=arguments.switch_at, temperature=arguments.temperature, seed=1
    )
    found: dict[str, list[Answer]] = {way: [] for way in WAYS}
    asked = [question for _, question in zip(range(arguments.questions), questions(), strict=False)]
    for number, question in enumerate([asked[-1], *(asked * arguments.runs)]):
        for way, (exact, speculation) in WAYS.items():
            answer = ask(pairs[exact], question, options.with_changes(speculation=speculation))
            if number:
                found[way].append(answer)
    return found


def ask(pair: Pair, question: str, options: Options) -> Answer:
    """One answer with both memories empty."""
    pair.drafter.context.wipe()
    pair.base.context.wipe()
    start = time.perf_counter()
    reply: Reply = pair.generate(question, options)
    stats, switch = reply.stats, reply.switch
    return Answer(
        stats.ttft_s,
        time.perf_counter() - start,
        tuple(token.id for token in reply.tokens),
        None if switch is None else switch.index,
        stats.n_accepted,
        stats.base_passes,
    )


def n_differing(some: list[Answer], others: list[Answer]) -> int:
    return sum((a.ids, a.switch) != (b.ids, b.switch) for a, b in zip(some, others, strict=True))


def print_report(found: dict[str, list[Answer]], arguments: argparse.Namespace) -> None:
    plain, n = found[PLAIN], len(found[PLAIN])
    differing = {
        "default": n_differing(found["default"], plain),
        "exact": n_differing(found["exact"], found["exact, no speculation"]),
    }
    for way, count in differing.items():
        print(f"{way}: {count} of {n} answers differ with speculation from those without")
    print(f"\n{'':24}{'first token':>12}{'answer':>10}{'÷ plain':>10}{'tokens per pass':>17}")
    rows = {}
    for way, answers in found.items():
        n_tokens = [len(answer.ids) / max(answer.base_passes, 1) for answer in answers]
        # Per token: answers that differ also differ in length.
        per_token = [answer.whole_s / max(len(answer.ids), 1) for answer in answers]
        ratios = [a / (b.whole_s / max(len(b.ids), 1)) for a, b in zip(per_token, plain, strict=True)]
        rows[way] = {
            "first_s": statistics.median(answer.first_s for answer in answers),
            "whole_s": statistics.median(answer.whole_s for answer in answers),
            "time_per_token_to_plain": statistics.median(ratios),
            "tokens_per_pass": statistics.median(n_tokens),
        }
        first, whole, ratio, tokens = rows[way].values()
        print(f"{way:24}{first:10.3f} s{whole:8.2f} s{ratio:10.2f}{tokens:17.2f}")
    print(json.dumps({"arguments": vars(arguments), "answers": n, "differing": differing, "ways": rows}))


if __name__ == "__main__":
    main()
