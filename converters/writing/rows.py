"""The values a planned tensor gets in the file, a block of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from ..checkpoint.safetensors_file import to_float32
from ..families.base import Planned
from .storage import not_finite

# Values worked on at once: many enough for numpy's calls to cost little, few enough to stay in a processor's cache.
_BLOCK_VALUES = 1 << 19
# By type: how numpy sees the bits, and those that are all set in NaN and infinity alone.
_EXPONENTS: dict[str, tuple[type[np.unsignedinteger[Any]], int]] = {
    "F32": (np.uint32, 0x7F80_0000), "F16": (np.uint16, 0x7C00), "BF16": (np.uint16, 0x7F80),
}  # fmt: skip


def same_rows(tensor: Planned, type_name: str) -> Iterator[npt.NDArray[Any]] | None:
    """Blocks of the stored values where they can stay as they are in `type_name`; None where they cannot.

    Raises ConversionError, while it is read, for values that are not finite.
    """
    weight, source = tensor.weight, tensor.source
    if weight is None or source is None or weight.compute is not None or tensor.updates:
        return None
    if source.dtype != type_name or type_name not in _EXPONENTS:
        return None
    return _checked(tensor, *_EXPONENTS[type_name])


def _checked(tensor: Planned, bits: type[np.unsignedinteger[Any]], exponent: int) -> Iterator[npt.NDArray[Any]]:
    rows, _ = _stored_rows(tensor)
    step = max(1, _BLOCK_VALUES // max(1, rows.shape[-1]))
    for first in range(0, len(rows), step):
        block = np.ascontiguousarray(rows[first : first + step])
        if ((block.view(bits) & bits(exponent)) == exponent).any():
            raise not_finite(tensor.name)
        yield block


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
