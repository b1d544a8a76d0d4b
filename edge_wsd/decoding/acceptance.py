"""How often a base takes a proposed token, by the probability that its proposer gave it.

A proposer's own probability is not the chance of acceptance, but tells much about it: where the drafter is unsure, it
is mostly wrong. So acceptance is counted in buckets of that probability, over all replies of a pair.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from typing import Any

EDGES = (0.4, 0.6, 0.8, 0.95)
"""Where the buckets of probabilities meet."""
_N = len(EDGES) + 1
_FIRST = (0.3, 0.5, 0.65, 0.8, 0.9)
"""Acceptance in each bucket before anything is known, which counts as one trial."""
_KEEP = 0.998
"""What a trial still counts after the next one: about the last 500 count."""
_TRUST = 4.0
"""Trials before what happened lately counts more than the pair's."""
_TRUST_IN_SHARES = 30.0
"""As `_TRUST`, for how sure the proposer is."""
_RARE = 0.01
_MOST = 0.995
"""Nothing is ever certain."""


class Acceptance:
    """Of one proposer, over all replies of a pair."""

    def __init__(self) -> None:
        self.seen = [0.0] * _N
        """How often the proposer was this sure."""
        self.tried = [0.0] * _N
        self.accepted = [0.0] * _N

    def count(self, chances: list[float], n_accepted: int, *, stopped_below: float = 0.0) -> None:
        """A round: what follows the first rejection says nothing. `stopped_below`: why the proposer stopped, if so."""
        for i, chance in enumerate(chances[: n_accepted + 1]):
            bucket = bucket_of(chance)
            for counts in (self.seen, self.tried, self.accepted):
                counts[:] = [n * _KEEP for n in counts]
            self.seen[bucket] += 1
            self.tried[bucket] += 1
            self.accepted[bucket] += i < n_accepted
        below = self.shares()[: bisect_right(EDGES, stopped_below)] if stopped_below else []
        for bucket, share in enumerate(below):  # which of them it was is not known
            self.seen[bucket] += share / sum(below) if sum(below) else 1 / len(below)

    def rate(self, bucket: int) -> float:
        """The share of proposals in this bucket that is accepted."""
        return (self.accepted[bucket] + _FIRST[bucket]) / (self.tried[bucket] + 1)

    @property
    def mean(self) -> float:
        """The share of all proposals that is accepted."""
        return sum(share * self.rate(bucket) for bucket, share in enumerate(self.shares()))

    def reach(self, bound: float) -> float:
        """The share of proposals with at least this probability, which is one of `EDGES`."""
        return sum(self.shares()[bisect_right(EDGES, bound) :])

    def shares(self) -> list[float]:
        """How the proposals are spread over the buckets. Until something is known all are in the last."""
        seen = [*self.seen[:-1], self.seen[-1] + 1]
        return [n / sum(seen) for n in seen]

    def snapshot(self) -> dict[str, Any]:
        """What is worth remembering, for JSON."""
        return {"seen": list(self.seen), "tried": list(self.tried), "accepted": list(self.accepted)}

    @classmethod
    def of(cls, snapshot: Mapping[str, Any]) -> Acceptance:
        """Raises ValueError, TypeError, KeyError or OverflowError if it is not a snapshot."""
        same = cls()
        same.seen, same.tried, same.accepted = (_counts(snapshot[name]) for name in ("seen", "tried", "accepted"))
        if any(accepted > tried for accepted, tried in zip(same.accepted, same.tried, strict=True)):
            raise ValueError("more was accepted than tried")
        return same


class Lately:
    """How a reply, or those that share passes, fare of late, against what the pair's acceptance promised."""

    def __init__(self, pair: Acceptance, n_lately: int = 20) -> None:
        """About the last `n_lately` proposals count."""
        self._pair = pair
        self._accepted, self._reached = _Ratio(1 - 1 / n_lately), _Ratio(1 - 1 / n_lately)
        self._bound = 0.0

    def count(self, chances: list[float], n_accepted: int, *, bound: float = 0.0, stopped: bool = False) -> None:
        """A round with this bound on the proposer's probability. What follows the first rejection says nothing.

        `stopped`: the token behind those would have been below the bound.
        """
        self._bound = bound or self._bound
        for i, chance in enumerate(known := chances[: n_accepted + 1]):
            self._accepted.count(i < n_accepted, self._pair.rate(bucket_of(chance)))
        if self._bound:
            usual = self._pair.reach(self._bound)
            for reaches in [*(chance >= self._bound for chance in known), *[False] * stopped]:
                self._reached.count(reaches, usual)

    def bounds(self) -> list[tuple[float, float, float]]:
        """Bounds on the proposer's probability, each with the chance that a token reaches it, and then of acceptance.

        The first is 0, which every token reaches. Those that make hardly a difference are left out.
        """
        shares, ratio = self._shares(), self._accepted.value(_TRUST * self._pair.mean)
        rates = [min(self._pair.rate(bucket) * ratio, _MOST) for bucket in range(_N)]
        bounds = []
        for first, bound in enumerate((0.0, *EDGES)):
            if first and shares[first - 1] < _RARE:
                continue
            reach = max(sum(shares[first:]), _RARE)
            accepted = sum(share * rate for share, rate in zip(shares[first:], rates[first:], strict=True))
            bounds.append((bound, min(reach, 1.0), accepted / reach))
        return bounds

    def _shares(self) -> list[float]:
        """How proposals are spread over the buckets: as the pair's, but for how many reach the latest bound."""
        shares, first = self._pair.shares(), bisect_right(EDGES, self._bound)
        below, above = sum(shares[:first]), sum(shares[first:])
        if not self._bound or not below:
            return shares
        reach = min(above * self._reached.value(_TRUST_IN_SHARES * above), 1.0)
        return [share * ((1 - reach) / below if i < first else reach / above) for i, share in enumerate(shares)]


class _Ratio:
    """What happened of late, in parts of what was promised."""

    def __init__(self, keep: float) -> None:
        self._keep = keep
        self._n = self._n_promised = 0.0

    def count(self, happened: bool, promised: float) -> None:
        self._n = self._keep * self._n + happened
        self._n_promised = self._keep * self._n_promised + promised

    def value(self, trust: float) -> float:
        """It begins at 1, as if so much had been promised and had happened before."""
        return (self._n + trust) / (self._n_promised + trust)


def bucket_of(chance: float) -> int:
    return bisect_right(EDGES, chance)


def _counts(given: Any) -> list[float]:
    counts = [float(n) for n in given]
    if len(counts) != _N or not all(0 <= n < 1e6 for n in counts):
        raise ValueError(f"{given} are no counts")
    return counts
