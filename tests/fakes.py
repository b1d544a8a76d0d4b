"""A language model of thirty lines: what follows is a fixed function of the last tokens. No weights, no llama.cpp."""

from __future__ import annotations

import math
import random
from collections.abc import Generator
from typing import TypeVar

from edge_wsd.decoding.events import Event
from edge_wsd.decoding.protocols import Pass, Writing
from edge_wsd.llama.joins import Joins

END = 0
T = TypeVar("T")


class FakeVocabulary:
    """Token i stands for `pieces[i]`; token 0 ends a text."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = pieces
        self.n_tokens = len(pieces)
        self.can_join = Joins(pieces).can_join

    def piece(self, token: int) -> bytes:
        return self.pieces[token]

    def text(self, token: int) -> str:
        return "<end>" if token == END else self.pieces[token].decode(errors="replace")

    def is_end(self, token: int) -> bool:
        return token == END

    def tokenize(self, text: str, *, special: bool = False, bos: bool = False) -> list[int]:
        """Longest piece first, from the left."""
        data, tokens = text.encode(), []
        by_length = sorted(range(1, self.n_tokens), key=lambda i: -len(self.pieces[i]))
        while data:
            token = next(i for i in by_length if self.pieces[i] and data.startswith(self.pieces[i]))
            tokens.append(token)
            data = data[len(self.pieces[token]) :]
        return tokens


class FakeModel:
    """`agreement` of two models with different seeds: how often they follow the common seed instead of their own."""

    def __init__(self, n_tokens: int, *, seed: int, common: int = 0, agreement: float = 0.0, sharpness: float = 4.0):
        self.n_tokens, self.seed, self.common = n_tokens, seed, common
        self.agreement, self.sharpness = agreement, sharpness

    def logprobs(self, history: tuple[int, ...]) -> list[float]:
        key = history[-3:]
        shared = random.Random(f"{self.common} {key}")
        rng = shared if shared.random() < self.agreement else random.Random(f"{self.seed} {key}")
        weights = [self.sharpness * rng.gauss(0, 1) for _ in range(self.n_tokens)]
        weights[END] -= 7.0
        total = math.log(math.fsum(math.exp(w) for w in weights))
        return [w - total for w in weights]

    def greedy(self, history: tuple[int, ...]) -> int:
        row = self.logprobs(history)
        return max(range(len(row)), key=row.__getitem__)


class FakeSampler(random.Random):
    """Draws, and keeps what it is told of."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.accepted: list[int] = []
        self.drafted: list[int] = []
        """Those of the accepted that another model has drafted."""

    def accept(self, token: int, *, drafted: bool = False) -> None:
        self.accepted.append(token)
        self.drafted += [token] if drafted else []


class FakeRows:
    """Row i is what follows the text and the first i proposed tokens."""

    seconds = 0.0

    def __init__(self, rows: list[list[float]], asked: Pass) -> None:
        self._rows, self._proposed, self._sampler = rows, asked.proposed, asked.sampler
        self._n_likeliest = asked.likeliest

    @property
    def n_rows(self) -> int:
        return len(self._rows)

    @property
    def logprobs(self) -> list[float]:
        return [row[token] for row, token in zip(self._rows, self._proposed, strict=False)]

    def top(self, row: int) -> float:
        return max(self._rows[row])

    def likeliest(self, row: int) -> list[tuple[int, float]]:
        logprobs = self._rows[row]
        best = sorted(range(len(logprobs)), key=lambda token: (-logprobs[token], token))
        return [(token, logprobs[token]) for token in best[: self._n_likeliest]]

    def choose(self, row: int) -> tuple[int, float]:
        logprobs = self._rows[row]
        if self._sampler is None:
            token = max(range(len(logprobs)), key=logprobs.__getitem__)
        else:
            token = self._sampler.choices(range(len(logprobs)), [math.exp(x) for x in logprobs])[0]
        return token, logprobs[token]


class FakeSequence:
    """Keeps count of passes, so that a test can prove what was batched."""

    def __init__(self, model: FakeModel) -> None:
        self.model = model
        self.tokens: list[int] = []
        self.batches: list[tuple[int, int]] = []
        self.cuts: list[int] = []

    def read(self, asked: Pass) -> FakeRows:
        assert asked.text[: len(self.tokens)] == self.tokens and len(self.tokens) < len(asked.text)
        self.batches.append((len(asked.text) - len(self.tokens), len(asked.proposed)))
        before = len(asked.text)
        whole = asked.text + asked.proposed
        self.tokens = list(whole if asked.beyond else whole[:-1])
        rows = [self.model.logprobs(tuple(whole[:n])) for n in range(before, len(self.tokens) + 1)]
        return FakeRows(rows, asked)

    def spare(self, n: int) -> int:
        return 0

    def cut(self, n: int) -> None:
        if n < len(self.tokens):
            self.cuts.append(n)
            del self.tokens[n:]


def drive(writing: Writing[T]) -> Generator[Event, None, T]:
    """Answers every pass at once; the events come through."""
    answer: FakeRows | None = None
    while True:
        try:
            asked = writing.send(answer)  # type: ignore[arg-type]
        except StopIteration as end:
            return end.value
        answer = None
        if isinstance(asked, Pass):
            answer = asked.sequence.read(asked)
        else:
            yield asked
