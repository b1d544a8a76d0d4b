"""Tokens of texts cut into windows that a model reads one by one.

>>> [window.tolist() for window in cut_windows([[5, 6, 7, 8]], length=3, bos=1)]
[[1, 5, 6], [1, 7, 8]]
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from edge_wsd.errors import VerificationError

DEFAULT_LENGTH = 512
"""Tokens of a window. With as many rows of logits at once, they stay smaller than a real model's embedding table."""

Window = npt.NDArray[np.int64]
"""Shape (n,), n >= 2: each token but the last is read, each but the first is predicted."""


def window_length(asked: int | None, trained: int, name: object) -> int:
    """Tokens of a window. Raises VerificationError for more than the model was trained with."""
    if asked is None:
        return min(DEFAULT_LENGTH, trained)
    if not 2 <= asked <= trained:
        raise VerificationError(f"{name} was trained with texts of {trained} tokens; a window must have 2 to {trained}")
    return asked


def cut_windows(
    texts: Iterable[Sequence[int]], *, length: int = DEFAULT_LENGTH, bos: int | None = None, most: int | None = None
) -> list[Window]:
    """Windows of up to `length` tokens, each beginning with `bos` if there is one; together at most `most` predictions.

    `texts` are without their BOS. Raises VerificationError if nothing is left to predict.
    """
    head = [] if bos is None else [bos]
    step, left, windows = length - len(head), most, list[Window]()
    for tokens in texts:
        for first in range(0, len(tokens), step):
            window = np.array([*head, *tokens[first : first + step]], np.int64)
            if left is not None:
                window = window[: left + 1]
            if len(window) < 2:
                continue
            windows.append(window)
            left = None if left is None else left - (len(window) - 1)
    if not windows:
        raise VerificationError("the texts have no two tokens in a row to compare; give a longer text")
    return windows


def n_predictions(windows: Iterable[Window]) -> int:
    """Positions of `windows` that have a next token."""
    return sum(len(window) - 1 for window in windows)
