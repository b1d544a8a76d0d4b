"""How far to draft before the base scores it: far enough that its passes pay, and not far beyond a likely switch.

What is drafted behind the switch is not quite lost: the base reads it as a proposal.
"""

from __future__ import annotations

from typing import Any

from edge_wsd.decoding.costs import Costs

_FIRST = 0.05
"""The chance that the switch is at a token where it can be, before anything is known; counts as `_TRUST` tokens."""
_TRUST = 20.0
_KEEP = 0.999
"""What a token still counts after the next one: about the last 1000 count."""


class Switches:
    """Of all replies of a pair: at how many of the tokens where the switch could be it was."""

    def __init__(self, n: float = 0.0, n_tokens: float = 0.0) -> None:
        self._n, self._n_tokens = n, n_tokens

    def count(self, n_tokens: int, *, switched: bool) -> None:
        """The base scored `n_tokens` at which it might have switched, and if so, it was at the last."""
        keep = _KEEP**n_tokens
        self._n, self._n_tokens = keep * self._n + switched, keep * self._n_tokens + n_tokens

    @property
    def chance(self) -> float:
        """Of a switch at a token where it can be."""
        return (self._n + _TRUST * _FIRST) / (self._n_tokens + _TRUST)

    def snapshot(self) -> list[float]:
        """What is worth remembering, for JSON."""
        return [self._n, self._n_tokens]

    @classmethod
    def of(cls, snapshot: Any) -> Switches:
        """Raises ValueError, TypeError or OverflowError if it is not a snapshot."""
        n, n_tokens = (float(x) for x in snapshot)
        if not 0 <= n <= n_tokens < 1e6:
            raise ValueError(f"{snapshot} are no counts of switches")
        return cls(n, n_tokens)


def how_far(most: int, costs: Costs, *, certain: int, chance: float, acceptance: float) -> int | None:
    """The number of tokens, between 1 and `most`, whose drafting and scoring yields most per second.

    None if costs are not known. The switch is at none of the first `certain` tokens but the last, and at each from
    there on with this `chance`; behind it a token is accepted with this probability.
    """
    if not costs.are_known("base"):
        return None
    together = costs.n_replies("base")
    step_s = costs.pass_s("drafter", together) or 0.0
    best, best_rate = 1, 0.0
    goes_on, stands, n_kept = 1.0, 0.0, 0.0  # no switch so far; one, and all behind it was accepted
    for n in range(1, most + 1):
        stands *= acceptance
        n_kept += goes_on + stands
        switch = chance * goes_on if n >= certain else 0.0
        goes_on, stands = goes_on - switch, stands + switch
        rate = n_kept / (n * step_s + (costs.pass_s("base", together * n) or 0.0))
        if rate > best_rate:
            best, best_rate = n, rate
    return best
