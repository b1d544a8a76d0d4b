"""A text as llama.cpp saved it, and how far back it can be cut."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class SequenceState:
    """A saved sequence: its ledger and llama.cpp's bytes. Fits only the same model and context settings."""

    tokens: tuple[int, ...]
    data: bytes | NDArray[np.uint8]
    fewest: int = 0
    """To fewer tokens what is restored cannot be cut back, but to a checkpoint or to none. Of a text longer than its
    sliding window llama.cpp saves what the last token looks at, and a recurrent memory is one state."""
    checkpoints: tuple[SequenceState, ...] = ()

    @property
    def n_bytes(self) -> int:
        return len(self.data) + sum(one.n_bytes for one in self.checkpoints)

    def kept(self, n: int) -> int:
        """How many tokens stay where it is restored and cut back to `n`."""
        return kept(n, len(self.tokens), self.fewest, self.checkpoints)


def kept(n: int, n_tokens: int, fewest: int, checkpoints: Iterable[SequenceState]) -> int:
    """How many of `n_tokens` are left if they are cut back to `n`; `fewest` and `checkpoints` as of a state."""
    n = min(n, n_tokens)
    if n == n_tokens or n >= fewest:
        return n
    return max((len(one.tokens) for one in checkpoints if len(one.tokens) <= n), default=0)
