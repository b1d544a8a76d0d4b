"""What may come next in a reply, guessed by somebody cheaper than the base, which then reads it in one pass."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

ProposerName = Literal["drafter", "ngram"]
PROPOSERS: tuple[ProposerName, ...] = get_args(ProposerName)


@dataclass(frozen=True, slots=True)
class Proposal:
    """Tokens of the base that may follow a reply."""

    tokens: list[int] = field(default_factory=list)
    chances: list[float] = field(default_factory=list)
    """The proposer's own probability of each token, 0 to 1; 1 where it knows none."""
    proposer: ProposerName = "drafter"
    unsure: bool = False
    """Whether it ends because the next token was less probable than asked for."""

    def first(self, n: int) -> Proposal:
        """Its first `n` tokens."""
        return Proposal(self.tokens[:n], self.chances[:n], self.proposer, self.unsure and n >= len(self.tokens))
