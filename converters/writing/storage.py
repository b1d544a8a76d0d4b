"""The types a tensor can be stored in, and the encoding of blocks of rows."""

from __future__ import annotations

import math
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt

from edge_wsd.errors import ConversionError


def stored_type(shape: tuple[int, ...], type_name: str) -> Any:
    """The ggml type of a tensor of `shape` in a file of `type_name`.

    Vectors stay F32, as llama.cpp computes with them directly; rows that do not divide into whole blocks
    become F16.
    """
    if len(shape) == 1:
        return gguf.GGMLQuantizationType.F32
    wanted = gguf.GGMLQuantizationType[type_name]
    values_per_block, _ = gguf.GGML_QUANT_SIZES[wanted]
    return wanted if shape[-1] % values_per_block == 0 else gguf.GGMLQuantizationType.F16


def n_bytes(shape: tuple[int, ...], stored: Any) -> int:
    """The size of a tensor of `shape` stored as the ggml type `stored`."""
    values_per_block, bytes_per_block = gguf.GGML_QUANT_SIZES[stored]
    return int(math.prod(shape) // values_per_block * bytes_per_block)


def encode(rows: npt.NDArray[np.float32], stored: Any, name: str) -> npt.NDArray[Any]:
    """Rows of float32 as the ggml type `stored`. Raises ConversionError for values it cannot hold."""
    if not np.isfinite(rows).all():
        raise not_finite(name)
    if stored == gguf.GGMLQuantizationType.F16 and np.abs(rows).max(initial=0) > np.finfo(np.float16).max:
        raise ConversionError(f"tensor {name!r} holds values beyond the range of F16; use type BF16 or F32")
    encoded: npt.NDArray[Any] = gguf.quants.quantize(np.ascontiguousarray(rows), stored)
    return encoded


def not_finite(name: str) -> ConversionError:
    return ConversionError(f"tensor {name!r} holds NaN or infinity; the checkpoint is damaged")
