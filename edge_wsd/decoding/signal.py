"""The switch rule: when is the base confident enough in what the drafter wrote to take over?

Source: Song et al., "Well Begun is Half Done", arXiv 2506.07434. The confidence at a token is the geometric mean of
the base's probabilities of the last `window` drafted tokens, and 0 while there are fewer.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from edge_wsd.decoding.options import Options

# Probabilities come as logarithms, so an exact tie with the threshold is off by a few units in the last place.
_EQUAL = 1e-9


class ConfidenceWindow:
    """The rule, fed token by token. `index` is the last token kept, once the window has passed."""

    def __init__(self, *, threshold: float, window: int) -> None:
        self._threshold = threshold
        self._window = window
        self.logprobs: list[float] = []
        self.confidences: list[float | None] = []
        self.index: int | None = None

    def extend(self, logprobs: Iterable[float]) -> None:
        """Feed natural log-probabilities of the next drafted tokens under the base."""
        for logprob in logprobs:
            self.logprobs.append(logprob)
            full = len(self.logprobs) >= self._window
            confidence = math.exp(math.fsum(self.logprobs[-self._window :]) / self._window) if full else None
            self.confidences.append(confidence)
            if self.index is None and confidence is not None and confidence >= self._threshold - _EQUAL:
                self.index = len(self.logprobs) - 1

    def cut(self, n: int) -> None:
        """Forget all but the first `n` tokens."""
        del self.logprobs[n:], self.confidences[n:]
        if self.index is not None and self.index >= n:
            self.index = None


def switch_index(
    logprobs: Sequence[float], *, threshold: float = Options.threshold, window: int = Options.window
) -> int | None:
    """Index of the last drafted token kept, or None if the base never gets confident and keeps the whole draft.

    `logprobs` are natural log-probabilities of the drafted tokens under the base.

    >>> switch_index([math.log(0.9)] * 8)
    5
    """
    rule = ConfidenceWindow(threshold=threshold, window=window)
    rule.extend(logprobs)
    return rule.index
