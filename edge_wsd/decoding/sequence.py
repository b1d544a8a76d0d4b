"""What decoding asks of a model: small protocols, so that its tests can use a fake of thirty lines."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

Sampler = Any
"""Opaque to decoding: handed from its maker to `Scores.choose`. None is greedy."""


class Scores(Protocol):
    """Row i is what follows the context and the first i proposed tokens."""

    @property
    def logprobs(self) -> list[float]: ...

    def choose(self, row: int, sampler: Sampler = None) -> tuple[int, float]: ...


class Sequence(Protocol):
    """One text in a model's memory; `tokens` is what is really there."""

    tokens: list[int]

    def extend(self, tokens: Iterable[int]) -> None: ...

    def score(self, context: Iterable[int], proposed: Iterable[int]) -> Scores: ...

    def spare(self, n: int) -> int:
        """By how many tokens a `score` of `n` may be longer at no cost."""

    def cut(self, n: int) -> None: ...

    def checkpoint(self) -> None: ...


class Vocabulary(Protocol):
    """Token ids and the bytes they stand for."""

    n_tokens: int

    def tokenize(self, text: str, *, special: bool = False, bos: bool = False) -> list[int]: ...

    def piece(self, token: int) -> bytes: ...

    def is_end(self, token: int) -> bool: ...

    def can_join(self, left: str, right: str) -> bool: ...


def common_prefix(a: list[int], b: list[int]) -> int:
    """Length of the longest common prefix."""
    low, high = 0, min(len(a), len(b))
    while low < high:  # comparing slices runs in C, so halving beats a loop over the tokens
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def rewind_to(sequence: Sequence, tokens: list[int]) -> list[int]:
    """Cut `sequence` back to what it shares with `tokens`; returns the tokens it still has to read, at least one."""
    shared = min(common_prefix(sequence.tokens, tokens), len(tokens) - 1)
    sequence.cut(shared)
    return tokens[len(sequence.tokens) :]
