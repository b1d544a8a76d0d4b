"""What decoding needs from models: passes over tokens, and the rows that come back. Tests can provide both easily.

A reply yields a `Pass` and is sent `Rows`. It does not know who computes them, when, or together with what else.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator
from dataclasses import dataclass
from typing import Protocol, TypeVar

from edge_wsd.decoding.events import Event

T = TypeVar("T")


class CachedSequence(Protocol):
    """One text in a model's KV cache; `tokens` is what the cache really holds."""

    tokens: list[int]
    n_reused: int
    """Tokens of its text that were found in memory and not read."""

    def cut(self, n: int) -> None:
        """Forget all but the first `n` tokens, or even more if the memory cannot be cut just there."""

    def spare(self, n: int) -> int:
        """How many tokens may be added to a pass that reads `n`, at no cost."""


class TokenSampler(Protocol):
    """Used by whoever answers a pass to choose tokens; decoding only reports which became part of the reply."""

    def accept(self, token: int, *, drafted: bool = False) -> None:
        """Called once for each token of the reply, in order. `drafted`: another model wrote it."""


@dataclass(frozen=True, slots=True)
class Onward:
    """How a greedy pass goes on: its own choices are read in turn, for up to `n` more rows."""

    n: int
    stops: Collection[int] = ()
    """Tokens behind which no row is wanted. Behind those that end a text none is either."""
    stop_below: float = 0.0
    """Nor behind a choice that is less probable than this."""


@dataclass(frozen=True, slots=True)
class Pass:
    """Read the part of `text` that `sequence` does not hold yet, then `proposed`.

    The last token of a text is read only when what follows it is needed. So there is always a token to read, and no row
    is ever kept for later.
    """

    sequence: CachedSequence
    text: list[int]
    proposed: list[int]
    sampler: TokenSampler | None = None
    """None is greedy."""
    beyond: bool = True
    """Whether the last proposed token is read as well, to see what follows it. Otherwise it is only scored."""
    onward: Onward | None = None
    """A wish: whoever answers may give fewer rows of these, or none."""
    meanwhile: Meanwhile | None = None
    """A wish as well: what may be computed beside this pass."""
    likeliest: int = 0
    """How many of the likeliest tokens each row shall tell."""


@dataclass(frozen=True, slots=True)
class Meanwhile:
    """A pass of another model, which may be computed while the reply waits for one, in part or not at all."""

    asked: Pass
    heard: Callable[[Rows], None] | None = None
    """Told its rows, if it was computed, before the reply goes on. With None it is a text to be read ahead: the reply
    does not wait for its end."""


class Rows(Protocol):
    """Row i: what follows the text and the first i proposed tokens; behind those, the choices of the rows before it.

    Rows are valid until the reply's next pass.
    """

    seconds: float
    """The time of the pass, or this reply's share of a pass that others took part in."""

    @property
    def n_rows(self) -> int: ...

    @property
    def logprobs(self) -> list[float]:
        """Log-probability (natural, temperature 1) of each proposed token."""

    def top(self, row: int) -> float:
        """Log-probability of the most probable token."""

    def likeliest(self, row: int) -> Collection[tuple[int, float]]:
        """The likeliest tokens, as many as the pass asked for, with their log-probabilities; the best first."""

    def choose(self, row: int) -> tuple[int, float]:
        """The token that the pass's sampler chooses, and its log-probability. Each call draws a random number."""


Writing = Generator[Pass | Event, Rows, T]
"""Something that is being written: it yields passes that it needs and events that have happened."""


class Vocabulary(Protocol):
    """Token ids and the bytes they stand for."""

    n_tokens: int

    def tokenize(self, text: str, *, special: bool = False, bos: bool = False) -> list[int]: ...

    def piece(self, token: int) -> bytes: ...

    def text(self, token: int) -> str:
        """The vocabulary's own spelling, which control tokens have as well."""

    def is_end(self, token: int) -> bool: ...

    def can_join(self, left: str, right: str) -> bool: ...
