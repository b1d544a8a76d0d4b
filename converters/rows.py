"""The values a planned tensor gets in the file, as float32, a block of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from .base import Planned
from .safetensors_file import to_float32

# Values worked on at once: large enough for numpy to be fast, small against any large tensor.
_BLOCK_VALUES = 1 << 22


def float_rows(tensor: Planned) -> Iterator[npt.NDArray[np.float32]]:
    """Blocks of shape (n, row length). At most one arranged copy of the tensor is in memory."""
    rows, dtype = _stored_rows(tensor)
    factors = [_arranged_factors(tensor, left, right) for left, right in (u.factors() for u in tensor.updates)]
    compute = tensor.weight.compute if tensor.weight else None
    step = max(1, _BLOCK_VALUES // max(1, rows.shape[-1]))
    for first in range(0, len(rows), step):
        block = to_float32(rows[first : first + step], dtype)
        for left, right in factors:
            block = block + left[first : first + step] @ right
        yield block if compute is None else compute(block)


def _stored_rows(tensor: Planned) -> tuple[npt.NDArray[Any], str]:
    if tensor.values is not None:
        return tensor.values.reshape(1, -1), "F32"
    if tensor.source is None or tensor.weight is None:
        raise ValueError(f"tensor {tensor.name!r} is planned without values or a source")
    values = tensor.source.open()
    if tensor.weight.arrange is not None:
        values = tensor.weight.arrange(values)
    return values.reshape(-1, tensor.shape[-1]), tensor.source.dtype


def _arranged_factors(
    tensor: Planned, left: npt.NDArray[np.float32], right: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Rows of a product follow the rows of its first factor, so that alone is arranged."""
    arrange = tensor.weight.arrange if tensor.weight else None
    return (left if arrange is None else arrange(left)), right
