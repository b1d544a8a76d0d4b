"""How far lookup can be trusted, and from which probability on a proposal is worth its place in a pass.

    python -m scripts.bench_lookup MODEL.gguf [--drafter DRAFTER.gguf] [--tokens 160] [--template chat]

The model answers ordinary questions, and some that make it repeat a text. Then the answers are written again without
it: lookup proposes, what stands in the answer is accepted. So nothing here depends on how fast or busy the machine is.
The first table tells how often a match of each length was right. The second tells, for each bound, the passes that the
answer takes, and its time where each proposed token makes a pass longer by the given share of a pass over one.

With a drafter (of the same vocabulary) a third table compares who should propose: the drafter, with the best number of
tokens; lookup first, above a bound, and the drafter where that finds nothing; or whichever promises more tokens per
second, as lookup knows what it proposes before anybody pays for it. Time is again in passes over one token, for a
drafter's step and a further token in a pass that take the given shares of one.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from itertools import accumulate
from operator import mul
from typing import cast

from edge_wsd import Message, ModelSettings, Pair
from edge_wsd.decoding.ngram import _LONGEST, NgramLookup
from edge_wsd.decoding.proposal import Proposal
from edge_wsd.decoding.protocols import Vocabulary
from scripts.bench_proposers import QUESTIONS as ASKED

QUESTIONS = {
    **ASKED,
    "ordinary": (
        *ASKED["ordinary"],
        "Write a short story about a lighthouse keeper.",
        "What is the difference between a virus and a bacterium?",
        "Give me a recipe for pancakes.",
        "Write a Python function that counts the words of a file.",
        "Who was Marie Curie?",
        "List five reasons to learn a second language.",
        "Write an e-mail in which I ask for a day off.",
    ),
}

BOUNDS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
COSTS = (0.02, 0.05, 0.1, 0.2, 0.3)
STEPS = (0.05, 0.15, 0.3)
CHAINED = (0.4, 0.6, 0.8)
Answer = tuple[list[int], list[int]]
"""Prompt and reply."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--drafter", help="the same model, if left out, which the third table leaves out")
    parser.add_argument("--tokens", type=int, default=160, help="length of the answers")
    parser.add_argument("--chunk", type=int, default=8, help="tokens proposed at most")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--template", default="chat", choices=("plain", "chat"))
    given = parser.parse_args()
    settings = ModelSettings(context_length=given.tokens + 512, threads=given.threads, cache_ram=0)
    with Pair.load(
        given.drafter or given.model,
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
            if given.drafter:
                print_ways(answers, [agreement(pair, *each) for each in answers], pair.base.model.vocab, given.chunk)


def answer(pair: Pair, question: str, n_tokens: int) -> Answer:
    reply = pair.generate(question, mode="base", max_tokens=n_tokens, speculation=False)
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
                tokens = looked_up(lookup, reply[:i], min(chunk, len(reply) - i - 1), bound).tokens
                accepted = next((k for k, token in enumerate(tokens) if token != reply[i + k]), len(tokens))
                n_passes, n_proposed, n_right = n_passes + 1, n_proposed + len(tokens), n_right + accepted
                i += accepted + 1
            n_tokens += len(reply)
        times = [(n_passes + cost * n_proposed) / n_tokens for cost in COSTS]
        shares = f"{n_passes / n_tokens:8.3f}{n_right / max(n_proposed, 1):8.2f}"
        print(f"{bound:6.1f}{shares}" + "".join(f"{time:8.3f}" for time in times))


def agreement(pair: Pair, prompt: list[int], reply: list[int]) -> list[bool]:
    """Whether the drafter would have written each token, behind those before it."""
    with closing(pair.drafter.context.sequence()) as sequence:
        scores = sequence.score(prompt, reply)
        return [scores.choose(row)[0] == token for row, token in enumerate(reply)]


def print_ways(answers: list[Answer], agreed: list[list[bool]], vocabulary: Vocabulary, chunk: int) -> None:
    n, n_agreed = sum(map(len, agreed)), sum(map(sum, agreed))
    print(f"the drafter agrees with {n_agreed / n:.2f}")
    names = ("token", "step", "drafter", *(f"bound {bound}" for bound in CHAINED), "promise")
    print("".join(f"{name:>12}" for name in names))
    for prices in (Prices(token, step) for token in COSTS for step in STEPS):
        rate, k = max((prices.rate(n_agreed / n, k), k) for k in range(chunk + 1))
        ways = [Way(k, bound, promised) for bound, promised in ((2.0, 0.0), *((b, 0.0) for b in CHAINED), (0.0, rate))]
        times = [
            sum(written(*each, vocabulary, chunk, prices, way) for each in zip(answers, agreed, strict=True)) / n
            for way in ways
        ]
        print("".join(f"{figure:12.3f}" for figure in (prices.token, prices.step, *times)))


@dataclass(frozen=True, slots=True)
class Prices:
    """In passes of the model over one token: a further token in a pass, and a step of the drafter."""

    token: float
    step: float

    def rate(self, agreement: float, k: int) -> float:
        """Tokens in the time of a pass over one, where the drafter proposes `k` tokens in each round."""
        return sum(agreement**i for i in range(k + 1)) / (1 + k * (self.token + self.step))


@dataclass(frozen=True, slots=True)
class Way:
    """The drafter proposes `k`; lookup before it, above the bound and if it promises more tokens than that."""

    k: int
    bound: float
    promised: float


def written(
    answer: Answer, agreed: list[bool], vocabulary: Vocabulary, chunk: int, prices: Prices, way: Way
) -> float:  # fmt: skip
    """The time of an answer."""
    prompt, reply = answer
    lookup, i, time = NgramLookup(prompt, vocabulary), 0, 0.0
    while i < len(reply):
        left = len(reply) - i - 1
        found = looked_up(lookup, reply[:i], min(chunk, left), way.bound)
        promise, n = promised(found, prices) if way.promised else (1.0, len(found.tokens))
        if n and promise > way.promised:
            right, price = [token == reply[i + j] for j, token in enumerate(found.tokens[:n])], prices.token
        else:
            right, price = agreed[i : i + min(way.k, left)], prices.token + prices.step
        i += next((j for j, one in enumerate(right) if not one), len(right)) + 1
        time += 1 + price * len(right)
    return time


def promised(found: Proposal, prices: Prices) -> tuple[float, int]:
    """The most tokens in the time of a pass over one, and the number of proposed tokens that promise them."""
    expected = accumulate(found.chances, mul, initial=1.0)
    return max((tokens / (1 + prices.token * n), n) for n, tokens in enumerate(accumulate(expected)))


def looked_up(lookup: NgramLookup, reply: list[int], n: int, bound: float) -> Proposal:
    try:
        next(lookup.propose(reply, n, bound))
    except StopIteration as end:
        return cast(Proposal, end.value)
    raise AssertionError("lookup needs no pass")


if __name__ == "__main__":
    main()
