"""Who should propose tokens: acceptance, share of the tokens, and time, by proposer and kind of question.

    python scripts/bench_proposers.py DRAFTER.gguf BASE.gguf [--tokens 128] [--runs 3] [--modes wsd,base]

Asks ordinary questions, and some whose answers repeat their text, in turns with each of `--proposers` and with
`--no-speculation`. For a drafter with another vocabulary this is the acceptance across vocabularies. The last line is
one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics

from edge_wsd import Mode, ModelSettings, Options, Pair, Reply

_TEXT = (
    "The harbour was quiet that morning. Two boats lay at the pier, and an old man mended his nets beside them. "
    "When the bell rang at seven he looked up, nodded to nobody, and went on with his work."
)
QUESTIONS = {
    "ordinary": (
        "What should everybody know about rivers?",
        "Explain bread to a child.",
        "How do I list the files of a folder by size?",
    ),
    "repeating": (
        f"Repeat this text word for word: {_TEXT}",
        f"Correct the spelling of this text and write it out: {_TEXT}",
        f"Write this text twice: {_TEXT}",
    ),
}
WAYS = {
    "none": Options(speculation=False),
    "drafter": Options(proposers="drafter"),
    "ngram": Options(proposers="ngram"),
    "both": Options(proposers="both"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("drafter")
    parser.add_argument("base")
    parser.add_argument("--tokens", type=int, default=128, help="length of the answers")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--switch-at", type=int, default=6, help="where the base takes over")
    parser.add_argument("--drafter-template", default="chat", choices=("plain", "chat"))
    parser.add_argument("--base-template", default="plain", choices=("plain", "chat"))
    parser.add_argument("--modes", default="wsd", help="comma-separated: wsd, base, drafter")
    given = parser.parse_args()
    settings = ModelSettings(context_length=given.tokens + 512, threads=given.threads, cache_ram=0)
    found = {}
    with Pair.load(
        given.drafter,
        given.base,
        drafter_settings=settings,
        base_settings=settings,
        drafter_template=given.drafter_template,
        base_template=given.base_template,
    ) as pair:
        for mode in given.modes.split(","):
            for kind, questions in QUESTIONS.items():
                found[f"{mode}, {kind}"] = measured(pair, mode, questions, given)
    print(json.dumps(found))


def measured(
    pair: Pair, mode: Mode, questions: tuple[str, ...], given: argparse.Namespace
) -> dict[str, dict[str, float]]:
    """One row for each way; the first round warms up and does not count."""
    replies: dict[str, list[Reply]] = {way: [] for way in WAYS}
    for number in range(given.runs + 1):
        for question in questions:
            for way, options in WAYS.items():
                pair.drafter.context.wipe()
                pair.base.context.wipe()
                switch_at = given.switch_at if mode == "wsd" else None
                reply = pair.generate(question, options, mode=mode, max_tokens=given.tokens, switch_at=switch_at)
                if number:
                    replies[way].append(reply)
    rows = {way: row(some, replies["none"]) for way, some in replies.items()}
    print(f"\n{mode}\n{'':10}" + "".join(f"{name:>20}" for name in rows["none"]))
    for way, figures in rows.items():
        print(f"{way:10}" + "".join(f"{value:20.3f}" for value in figures.values()))
    return rows


def row(replies: list[Reply], plain: list[Reply]) -> dict[str, float]:
    """Time is per token, against plain decoding of the same question; shares are of all tokens."""
    per_token = [reply.stats.total_s / max(len(reply.tokens), 1) for reply in replies]
    of_plain = [reply.stats.total_s / max(len(reply.tokens), 1) for reply in plain]
    n_tokens = sum(len(reply.tokens) for reply in replies)
    figures = {
        "time_to_plain": statistics.median(a / b for a, b in zip(per_token, of_plain, strict=True)),
        "base_passes": sum(reply.stats.base_passes for reply in replies) / max(n_tokens, 1),
    }
    for name in ("drafter", "ngram"):
        n_proposed = sum(reply.stats.n_proposed[name] for reply in replies)
        n_accepted = sum(reply.stats.n_proposed_accepted[name] for reply in replies)
        figures[f"{name}_accepted"] = n_accepted / max(n_proposed, 1)
        figures[f"{name}_share"] = n_accepted / max(n_tokens, 1)
    return figures


if __name__ == "__main__":
    main()
