"""What passes cost on this machine: medians of measured times by size, shared by all replies of a pair.

>>> costs = Costs()
>>> costs.took("base", n_tokens=4, n_rows=4, n_replies=1, seconds=0.05)
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Mapping
from statistics import median_low
from typing import Any, NamedTuple

from edge_wsd.decoding.events import SOURCES, Source

_BLOCK = 4
"""Tokens that kernels of a processor handle together, so that five take about as long as eight. Elsewhere the time of
what was not measured yet is taken for that of at most three tokens more."""
_LATEST = 9
"""Measurements of a size whose lower median counts: what else a machine does only ever slows a pass down."""
_REMEMBERED = 3
"""How many of them a time from an earlier start stands for."""
_RECENT = 50
"""Passes ago that a time is not old."""
_LONG = 32
"""Tokens of a prompt's pass that is a measure of long passes."""
_FORGET = 2000
"""After so many passes of other sizes a time is forgotten: the machine may have had more to do then than now."""
_READING = 0.125
"""What reading a token is supposed to cost, in steps, until that is known."""
_SHARING = 0.25
"""Weight of the newest pass, where fewer replies share it than before."""


class PassTime(NamedTuple):
    """A pass that was made for `n_replies` together, and the seconds that it took."""

    n_tokens: int
    n_rows: int
    n_replies: int
    seconds: float | None
    """None if that is not known."""


class Curve:
    """Seconds of a pass by its number of tokens, each of which has a row of logits."""

    def __init__(self, remembered: Mapping[int, float] | None = None) -> None:
        self.seconds = dict(remembered or {})
        """Medians by size. One measurement alone may be anything, so it takes two."""
        self._sizes = sorted(self.seconds)
        self._latest = {size: deque([s] * _REMEMBERED, _LATEST) for size, s in self.seconds.items()}
        self._when = dict.fromkeys(self._latest, 0)
        self._n = 0
        self._long: deque[tuple[float, int]] = deque(maxlen=_REMEMBERED)
        """Seconds per token of long passes, and their tokens."""
        self._found: dict[int, float] = {}
        """What was asked for since something was measured."""

    def read(self, n_tokens: int, seconds: float) -> None:
        """A prompt's pass: no measure of a step, but one of passes longer than all that were measured."""
        self._long.append((seconds / n_tokens, n_tokens))
        self._found.clear()

    def add(self, size: int, seconds: float) -> None:
        self._n += 1
        self._found.clear()
        self._when[size] = self._n
        latest = self._latest.setdefault(size, deque(maxlen=_LATEST))
        latest.append(seconds)
        if len(latest) > 1:
            self.seconds[size] = median_low(latest)
        if len(latest) == 2 or self._n % _FORGET == 0:
            for old in [size for size, when in self._when.items() if when <= self._n - _FORGET]:
                del self._latest[old], self._when[old]
                self.seconds.pop(old, None)
            self._sizes = sorted(self.seconds)

    def renew(self, plain: int) -> None:
        """Only the latest times of each size count any more, and none that is old, but of sizes up to `plain`.

        Does nothing if too few would be left.
        """
        oldest = self._n - _RECENT
        recent = [size for size in self._sizes if size <= plain or self._when[size] > oldest]
        if len(recent) < 2:
            return
        self._latest = {size: deque(list(self._latest[size])[-_REMEMBERED:], _LATEST) for size in recent}
        self.seconds = {size: median_low(latest) for size, latest in self._latest.items()}
        self._when = {size: self._when[size] for size in recent}
        self._sizes = recent
        self._found.clear()

    def at(self, size: float) -> float | None:
        """None if nothing is known. What lies between two numbers of tokens is now the one, now the other."""
        if not self.seconds:
            return None
        whole = int(size)
        below = self._of(whole)
        return below + (size - whole) * (self._of(whole + 1) - below) if size > whole else below

    def _of(self, size: int) -> float:
        if (found := self._found.get(size)) is None:
            found = self._found[size] = self.seconds[size] if size in self.seconds else self._guess(size)
        return found

    def _guess(self, size: int) -> float:
        """Of a size that was not measured as long as the block that it ends in, on the line through the two nearest.

        One size alone stands for all. A single token has kernels of its own.
        """
        sizes, seconds = self._sizes, self.seconds
        if len(sizes) < 2:
            return seconds[sizes[0]]
        above = bisect_left(sizes, size)
        end = size if size == 1 else -(-size // _BLOCK) * _BLOCK
        if above < len(sizes) and size < sizes[above] <= end:
            return seconds[sizes[above]]
        above = min(max(above, 1), len(sizes) - 1)
        low, high = sizes[above - 1], sizes[above]
        slope = (seconds[high] - seconds[low]) / (high - low)
        if end > high:  # two neighbours alone may be anything
            slope = max(slope, (seconds[high] - seconds[sizes[0]]) / (high - sizes[0]))
            token_s, n_tokens = min(self._long, default=(0.0, 0))
            if n_tokens > end:
                slope = (token_s * n_tokens - seconds[high]) / (n_tokens - high)
        if not low <= end <= high:  # beyond what is known no pass is cheaper for being longer
            slope = max(slope, 0.0)
        known = high if end > high else low
        return max(seconds[known] + slope * (end - known), 0.1 * seconds[known])


class Costs:
    """Seconds of the passes that the replies at work make together."""

    def __init__(self, curves: Mapping[Source, Mapping[int, float]] | None = None, *, read_s: float = 0.0) -> None:
        """`curves` and `read_s` are those of an earlier start, as `snapshot` gave them."""
        self._curves = {source: Curve((curves or {}).get(source)) for source in SOURCES}
        self._read: deque[float] = deque([read_s] * _REMEMBERED if read_s else [], _LATEST)
        self._begun: set[Source] = set()
        self._renewed = 0
        self._sharing = dict.fromkeys(SOURCES, 1.0)
        """How many replies there were lately in a pass: at once more, and only little by little fewer."""
        self.n_passes = dict.fromkeys(SOURCES, 0)
        """So far: replies that ask between the same two passes share the next one."""

    def took(self, source: Source, n_tokens: int, n_rows: int, n_replies: int, seconds: float | None) -> None:
        """A pass for `n_replies` together. Prompts, and a model's first pass, are no measure of a step."""
        self.n_passes[source] += 1
        if n_tokens == n_rows or n_replies > self._sharing[source]:  # a prompt that one reads alone ends no sharing
            fewer = self._sharing[source] + _SHARING * (n_replies - self._sharing[source])
            self._sharing[source] = max(n_replies, fewer)
        if source not in self._begun:
            self._begun.add(source)
            return
        if seconds is None:
            return
        if n_tokens == n_rows:
            self._curves[source].add(n_tokens, seconds)
            return
        if n_tokens >= _LONG:
            self._curves[source].read(n_tokens, seconds)
        if source == "drafter" and n_rows and (step_s := self.pass_s("drafter", n_rows)) is not None:
            self._read.append((seconds - step_s) / (n_tokens - n_rows))

    def pass_s(self, source: Source, n_tokens: float) -> float | None:
        """Seconds in which a model reads so many tokens and says what follows each; None if nothing is known of it."""
        return self._curves[source].at(n_tokens)

    def is_measured(self, source: Source, n_tokens: int) -> bool:
        """Whether the time of passes of exactly so many tokens is known."""
        return n_tokens in self._curves[source].seconds

    def read_s(self) -> float:
        """Seconds for each token more that the drafter reads in a step; until it is known, a part of a step."""
        known = self._known_read_s()
        return known if known is not None else _READING * (self.pass_s("drafter", 1) or 0.0)

    def _known_read_s(self) -> float | None:
        """None where it was not measured, or so badly that it seems to be nothing."""
        measured = median_low(self._read) if self._read else 0.0
        return measured if measured > 0 else None

    def n_replies(self, source: Source) -> int:
        """How many replies share a pass these days."""
        return max(1, round(self._sharing[source]))

    def renew(self) -> bool:
        """What was measured long ago holds no longer, as where texts have become long. False: said lately."""
        n_passes = sum(self.n_passes.values())
        if n_passes < self._renewed + 2 * _RECENT:
            return False
        self._renewed = n_passes
        for source, curve in self._curves.items():
            curve.renew(self.n_replies(source))
        return True

    def are_known(self, finisher: Source, *, with_drafter: bool = True) -> bool:
        """Whether it is enough to decide by: what several tokens cost in a pass of `finisher`, and a drafter's step."""
        return len(self._curves[finisher].seconds) > 1 and (not with_drafter or bool(self._curves["drafter"].seconds))

    def snapshot(self) -> dict[str, Any]:
        """What is worth remembering, for JSON."""
        curves = {source: {str(n): s for n, s in curve.seconds.items()} for source, curve in self._curves.items()}
        return {"curves": curves, "read_s": self._known_read_s() or 0.0}

    @classmethod
    def of(cls, snapshot: Mapping[str, Any]) -> Costs:
        """Raises ValueError, TypeError, KeyError, AttributeError or OverflowError if it is not a snapshot."""
        curves = {source: dict(_times(snapshot["curves"][source].items())) for source in SOURCES}
        return cls(curves, read_s=_time(snapshot["read_s"], least=0.0))


def _times(given: Iterable[tuple[str, Any]]) -> Iterable[tuple[int, float]]:
    for n, seconds in given:
        if int(n) < 1:
            raise ValueError(f"a pass over {n} tokens")
        yield int(n), _time(seconds, least=1e-9)


def _time(given: Any, *, least: float) -> float:
    if not least <= float(given) < 1e6:
        raise ValueError(f"{given} is no time")
    return float(given)
