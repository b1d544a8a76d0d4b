"""The switch rule: when is the base confident enough in the drafter's text to take over?

Source: Song et al., "Well Begun is Half Done", arXiv 2506.07434. The confidence at a token is the geometric mean of
the base's probabilities for the last `window` drafted tokens, and 0 while there are fewer.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import repeat

from edge_wsd.decoding.options import Options
from edge_wsd.decoding.repetition import Repetition

# Probabilities come as logarithms, so an exact tie with the threshold is off by a few units in the last place.
_EQUAL = 1e-9


def is_confident(confidence: float | None, threshold: float) -> bool:
    """Whether the confidence of a window, None for one that is not full, is enough for the base to take over."""
    return confidence is not None and confidence >= threshold - _EQUAL


class ConfidenceWindow:
    """The rule, fed token by token. `index` is the last token kept, once the window has passed the threshold.

    With a `repetition`, repeated tokens do not count: the window holds the last tokens that do.
    """

    def __init__(self, *, threshold: float, window: int, repetition: Repetition | None = None) -> None:
        self._threshold = threshold
        self._window = window
        self._repetition = repetition
        self._counted: list[float] = []
        self._n_counted: list[int] = []  # up to and including each token
        self.logprobs: list[float] = []
        self.confidences: list[float | None] = []
        self.index: int | None = None

    @property
    def repeated(self) -> list[bool]:
        """Which tokens do not count; empty if all do."""
        return self._repetition.repeated if self._repetition is not None else []

    def extend(self, logprobs: Iterable[float], tokens: Iterable[int] = ()) -> None:
        """Feed natural log-probabilities of the next drafted tokens under the base; a `repetition` needs `tokens`."""
        repeated = repeat(False) if self._repetition is None else map(self._repetition.push, tokens)
        for logprob, is_repeated in zip(logprobs, repeated, strict=False):
            self.logprobs.append(logprob)
            if not is_repeated:
                self._counted.append(logprob)
            self._n_counted.append(len(self._counted))
            full = len(self._counted) >= self._window
            confidence = math.exp(math.fsum(self._counted[-self._window :]) / self._window) if full else None
            self.confidences.append(confidence)
            if self.index is None and is_confident(confidence, self._threshold):
                self.index = len(self.logprobs) - 1

    def earliest(self) -> int:
        """How many more tokens it takes at least until the rule can pass: as many, if the base is certain of each."""
        least = self._window * math.log(self._threshold - _EQUAL) if self._threshold > _EQUAL else -math.inf
        first = self._window - min(len(self._counted), self._window - 1)
        for n in range(max(first, 1), self._window):
            if math.fsum(self._counted[n - self._window :]) >= least - _EQUAL:
                return n
        return self._window

    def cut(self, n: int) -> None:
        """Forget all but the first `n` tokens."""
        del self.logprobs[n:], self.confidences[n:], self._n_counted[n:]
        del self._counted[self._n_counted[-1] if self._n_counted else 0 :]
        if self._repetition is not None:
            self._repetition.cut(n)
        if self.index is not None and self.index >= n:
            self.index = None


def switch_index(
    logprobs: Sequence[float], *, threshold: float = Options.threshold, window: int = Options.window
) -> int | None:
    """Index of the last drafted token kept, or None if the base never becomes confident and keeps the whole draft.

    `logprobs` are natural log-probabilities of the drafted tokens under the base.

    >>> switch_index([math.log(0.9)] * 8)
    5
    """
    rule = ConfidenceWindow(threshold=threshold, window=window)
    rule.extend(logprobs)
    return rule.index
