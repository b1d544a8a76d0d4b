"""What decoding asks of models: passes over tokens, and the rows that come back. Its tests answer with thirty lines.

A reply yields a `Pass` and is sent `Rows`. Who computes them, when, and together with whose is not its business.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Protocol, TypeVar

from edge_wsd.decoding.events import Event

T = TypeVar("T")


class CachedSequence(Protocol):
    """One text in a model's KV cache; `tokens` is what is really there."""

    tokens: list[int]

    def cut(self, n: int) -> None:
        """Forget all but the first `n` tokens, or more than that where the memory cannot be cut anywhere."""

    def spare(self, n: int) -> int:
        """By how many tokens a pass that reads `n` may be longer at no cost."""


class TokenSampler(Protocol):
    """Whoever answers a pass chooses tokens with it; decoding only tells it which of them became part of the reply."""

    def accept(self, token: int, *, drafted: bool = False) -> None:
        """Once for each, in order. `drafted`: another model wrote it."""


@dataclass(frozen=True, slots=True)
class Pass:
    """To be read: what `sequence` does not hold yet of `text`, then `proposed`.

    The last token of a text is never in memory before it is needed for what follows it, so there is always one to read
    and no row is ever kept for later.
    """

    sequence: CachedSequence
    text: list[int]
    proposed: list[int]
    sampler: TokenSampler | None = None
    """None is greedy."""
    beyond: bool = True
    """Whether the last proposed token is read as well, for what follows it. Else it is only scored."""


class Rows(Protocol):
    """Row i is what follows the text and the first i proposed tokens. Rows hold until the reply asks for a pass."""

    seconds: float
    """What the pass took, or this reply's share of one that others took part in."""

    @property
    def logprobs(self) -> list[float]:
        """Log-probability (natural, temperature 1) of each proposed token."""

    def top(self, row: int) -> float:
        """Log-probability of the most probable token."""

    def choose(self, row: int) -> tuple[int, float]:
        """The pass's sampler's choice and its log-probability. A random draw is taken with each call."""


Writing = Generator[Pass | Event, Rows, T]
"""Something that is being written: it asks for passes, and tells what has happened."""


class Vocabulary(Protocol):
    """Token ids and the bytes they stand for."""

    n_tokens: int

    def tokenize(self, text: str, *, special: bool = False, bos: bool = False) -> list[int]: ...

    def piece(self, token: int) -> bytes: ...

    def is_end(self, token: int) -> bool: ...

    def can_join(self, left: str, right: str) -> bool: ...
