"""How many threads the next pass runs with: all, or fewer while other programs use the cores.

Threads meet after every operation. Where one of them has lost its core, the others sleep until it is back, and fewer
threads are faster: for a small model beside a busy program on two cores, one is twice as fast as two (docs/speed.md).
Sleeping shows: the process then uses less processor time than its threads could. So a quiet machine is never slowed by
a trial.

>>> choice = ThreadChoice(8)
>>> choice.took(0.010, 0.079)   # a pass of 10 ms on all cores
>>> choice.n
8
"""

from __future__ import annotations

from typing import Final

FEW_TOKENS: Final = 16
"""A pass of more tokens has more to compute between two meetings, and runs with all threads."""
_WINDOW = 8
_AWAKE = 0.8
_GAIN = 0.95
_SOON, _LATE = 64, 2048


class ThreadChoice:
    """Chooses from the time of the passes so far. A trial lasts eight passes and is kept where it was faster."""

    def __init__(self, most: int) -> None:
        self.n = most
        """Threads for the next pass of few tokens."""
        self._most = most
        self._passes, self._seconds, self._cpu_seconds = 0, 0.0, 0.0
        self._before: tuple[int, float] | None = None  # a trial: threads and seconds a pass before it
        self._settled = 0  # passes since the last trial
        self._pause = 0  # passes to the next one

    def took(self, seconds: float, cpu_seconds: float) -> None:
        """A pass of few tokens has taken so long, and so much processor time of all threads."""
        self._passes += 1
        self._seconds += seconds
        self._cpu_seconds += cpu_seconds
        if self._passes < _WINDOW:
            return
        mean, awake = self._seconds / _WINDOW, self._cpu_seconds / max(self._seconds, 1e-9) / self.n
        self._passes, self._seconds, self._cpu_seconds = 0, 0.0, 0.0
        if self._before is not None:
            self._end_trial(mean)
            return
        self._settled += _WINDOW
        if self._settled >= self._pause:
            self._begin_trial(mean, awake)

    def _begin_trial(self, mean: float, awake: float) -> None:
        fewer, more = max(1, self.n * 3 // 4), min(self._most, self.n * 4 // 3 + 1)
        trial = fewer if awake < _AWAKE and fewer < self.n else more
        if trial != self.n:
            self._before = self.n, mean
            self.n = trial

    def _end_trial(self, mean: float) -> None:
        assert self._before is not None
        n_before, mean_before = self._before
        self._before = None
        self._settled = 0
        if mean < mean_before * _GAIN:
            self._pause = _SOON
        else:
            self.n = n_before
            self._pause = min(_LATE, max(_SOON, 2 * self._pause))
