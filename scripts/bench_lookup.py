"""How far lookup can be trusted, and from which probability on a proposal is worth its place in a pass.

    python -m scripts.bench_lookup MODEL.gguf [--tokens 160] [--template chat]

The model answers ordinary questions, and some that make it repeat a text. Then the answers are written again without
it: lookup proposes, what stands in the answer is accepted. So nothing here depends on how fast or busy the machine is.
The first table tells how often a match of each length was right. The second tells, for each bound, the passes that the
answer takes, and its time where each proposed token makes a pass longer by the given share of a pass over one.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable

from edge_wsd import Message, ModelSettings, Pair
from edge_wsd.decoding.ngram import _LONGEST, NgramLookup
from edge_wsd.decoding.protocols import Vocabulary
from scripts.bench_proposers import QUESTIONS

BOUNDS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
COSTS = (0.02, 0.05, 0.1, 0.2, 0.3)
Answer = tuple[list[int], list[int]]
"""Prompt and reply."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--tokens", type=int, default=160, help="length of the answers")
    parser.add_argument("--chunk", type=int, default=8, help="tokens proposed at most")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--template", default="chat", choices=("plain", "chat"))
    given = parser.parse_args()
    settings = ModelSettings(context_length=given.tokens + 512, threads=given.threads, cache_ram=0)
    with Pair.load(
        given.model,
        given.model,
        drafter_settings=settings,
        base_settings=settings,
        drafter_template=given.template,
        base_template=given.template,
    ) as pair:
        for kind, questions in QUESTIONS.items():
            answers = [answer(pair, question, given.tokens) for question in questions]
            print(f"\n{kind}: {sum(len(reply) for _, reply in answers)} tokens")
            print_precision(answers, pair.base.model.vocab)
            print_bounds(answers, pair.base.model.vocab, given.chunk)


def answer(pair: Pair, question: str, n_tokens: int) -> Answer:
    reply = pair.generate(question, mode="base", max_tokens=n_tokens, speculation=False, stop_loops=False)
    return list(pair.base.encode([Message("user", question)]).tokens), [token.id for token in reply.tokens]


def print_precision(answers: Iterable[Answer], vocabulary: Vocabulary) -> None:
    n, n_right = [0] * (_LONGEST + 1), [0] * (_LONGEST + 1)
    for prompt, reply in answers:
        lookup = NgramLookup(prompt, vocabulary)
        for i, token in enumerate(reply):
            lookup._read(reply[:i])
            length, at = lookup._match()
            n[length] += 1
            n_right[length] += at is not None and lookup._text[at] == token
    for length in range(1, _LONGEST + 1):
        print(f"match of {length}: {n[length]:5} times, right {n_right[length] / max(n[length], 1):.2f}")


def print_bounds(answers: list[Answer], vocabulary: Vocabulary, chunk: int) -> None:
    print(f"{'bound':>6}{'passes':>8}{'right':>8}" + "".join(f"{cost:>8}" for cost in COSTS))
    for bound in BOUNDS:
        n_tokens, n_passes, n_proposed, n_right = 0, 0, 0, 0
        for prompt, reply in answers:
            lookup, i = NgramLookup(prompt, vocabulary), 0
            while i < len(reply):
                tokens = proposal(lookup, reply[:i], min(chunk, len(reply) - i - 1), bound)
                accepted = next((k for k, token in enumerate(tokens) if token != reply[i + k]), len(tokens))
                n_passes, n_proposed, n_right = n_passes + 1, n_proposed + len(tokens), n_right + accepted
                i += accepted + 1
            n_tokens += len(reply)
        times = [(n_passes + cost * n_proposed) / n_tokens for cost in COSTS]
        shares = f"{n_passes / n_tokens:8.3f}{n_right / max(n_proposed, 1):8.2f}"
        print(f"{bound:6.1f}{shares}" + "".join(f"{time:8.3f}" for time in times))


def proposal(lookup: NgramLookup, reply: list[int], n: int, bound: float) -> list[int]:
    try:
        next(lookup.propose(reply, n, bound))
    except StopIteration as end:
        return list(end.value.tokens)
    raise AssertionError("lookup needs no pass")


if __name__ == "__main__":
    main()
