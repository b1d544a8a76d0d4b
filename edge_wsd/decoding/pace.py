"""How many tokens the drafter should propose after the switch, from measured costs and acceptance.

A round of k proposals takes k drafter steps and one pass of the base over k + 1 tokens, and yields
1 + a + ... + a^k tokens if each proposal is accepted with probability a. Passes over several tokens are nearly free on
a GPU but not on a CPU, so both costs are measured while decoding; if no proposal pays, k is 0: plain decoding.
"""

from __future__ import annotations

_SMOOTHING = 0.25  # weight of the newest measurement
_FIRST_PROBE = 16  # plain tokens before speculation is tried again; doubled each time it does not pay


class Pace:
    """Record every round; ask for the next k, between 0 and `limit`."""

    def __init__(self, limit: int) -> None:
        self._options = [0, *(k for k in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128) if k <= limit)]
        self._step_s: float | None = None
        self._pass_s: dict[int, float] = {}
        self._acceptance = 0.5
        self._plain = 0
        self._probe = _FIRST_PROBE

    def record(self, asked: int, *, n_proposed: int, n_accepted: int, propose_s: float, pass_s: float) -> None:
        """One round: how many tokens were asked for, proposed and accepted, and what it took, in seconds."""
        size = n_proposed + 1
        self._pass_s[size] = _blend(self._pass_s.get(size), pass_s)
        if asked == 0:
            self._plain += 1
            return
        # After plain rounds the drafter first reads what it has missed, which is not a cost of proposing.
        if self._step_s is None or self._plain == 0:
            self._step_s = _blend(self._step_s, propose_s / max(n_proposed, 1))
        # Trials: every acceptance and, unless all were accepted, the one rejection. No proposal at all counts as one.
        trials = max(1, min(n_accepted + 1, n_proposed))
        weight = 1 - (1 - _SMOOTHING) ** trials
        self._acceptance += weight * (n_accepted / trials - self._acceptance)
        if self._best() == 0:
            self._probe *= 2
        else:
            self._probe = _FIRST_PROBE
        self._plain = 0

    def next(self) -> int:
        """The k of the next round."""
        if self._step_s is None:
            return self._options[min(3, len(self._options) - 1)]  # nothing is known about the drafter yet
        if 1 not in self._pass_s:
            return 0  # the cost of plain decoding is half of the comparison
        best = self._best()
        if best == 0 and self._plain >= self._probe:
            return self._options[min(2, len(self._options) - 1)]
        return best

    def _best(self) -> int:
        return max(self._options, key=self._tokens_per_second)

    def _tokens_per_second(self, k: int) -> float:
        a = min(self._acceptance, 0.995)
        tokens = (1 - a ** (k + 1)) / (1 - a)
        return tokens / (k * (self._step_s or 0.0) + self._estimate(k + 1))

    def _estimate(self, size: int) -> float:
        """Seconds of a pass over `size` tokens: measured, or on the line through its measured neighbours."""
        if size in self._pass_s:
            return max(self._pass_s[size], 1e-9)
        known = sorted(self._pass_s)
        below = [s for s in known if s < size]
        above = [s for s in known if s > size]
        if below and above:
            low, high = below[-1], above[0]
        elif len(known) >= 2:
            low, high = (known[0], known[-1])
        else:
            return max(self._pass_s[known[0]], 1e-9) if known else 1e-9
        slope = max(0.0, self._pass_s[high] - self._pass_s[low]) / (high - low)
        return max(self._pass_s[low] + slope * (size - low), 1e-9)


def _blend(old: float | None, new: float) -> float:
    return new if old is None else old + _SMOOTHING * (new - old)
