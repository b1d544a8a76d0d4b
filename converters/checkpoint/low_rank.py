"""A change to a matrix of weights, as the product of two thin ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .safetensors_file import StoredTensor, to_float32


@dataclass(frozen=True)
class LowRank:
    """`scale` * `left` @ `right` for a matrix of (n_rows, n_columns).

    `left` is (n_rows, rank) and `right` (rank, n_columns); with `swapped` both are stored the other way round.
    """

    left: StoredTensor
    right: StoredTensor
    scale: float
    swapped: bool = False

    def factors(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Both factors in float32, the scale inside the second, which is the smaller product."""
        left, right = _floats(self.left), _floats(self.right)
        if self.swapped:
            left, right = left.T, right.T
        return left, np.ascontiguousarray(right) * np.float32(self.scale)


def _floats(tensor: StoredTensor) -> npt.NDArray[Any]:
    return to_float32(tensor.open(), tensor.dtype)
