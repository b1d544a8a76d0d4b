"""One safetensors file, read with numpy alone and trusted in nothing."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt

from edge_wsd.errors import ConversionError
from edge_wsd.reading import open_regular

from .json_files import refuse_pointer

# The format's own limit; a longer header is damage or an attack.
_MAX_HEADER_BYTES = 100_000_000
_POINTER_BYTES = 64
_DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),  # numpy has no bfloat16: the upper half of a float32 as an integer
}


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor lies: `offset` counts bytes from the beginning of `path`."""

    name: str
    path: Path
    dtype: str
    shape: tuple[int, ...]
    offset: int

    @property
    def n_values(self) -> int:
        return math.prod(self.shape)

    def open(self) -> npt.NDArray[Any]:
        """The stored values as a read-only memory map (BF16 as uint16); nothing is read until it is used."""
        if self.dtype not in _DTYPES:
            raise ConversionError(
                f"{self.path.name}: tensor {self.name!r} has type {self.dtype}, expected one of "
                f"{', '.join(_DTYPES)}; convert the original checkpoint, not a quantized one"
            )
        if self.n_values == 0:
            return np.empty(self.shape, _DTYPES[self.dtype])
        return np.memmap(self.path, _DTYPES[self.dtype], "r", self.offset, self.shape)


def to_float32(values: npt.NDArray[Any], dtype: str) -> npt.NDArray[np.float32]:
    """Stored values as float32 of the same shape; `dtype` is the safetensors name."""
    if dtype == "BF16":
        widened = values.astype(np.uint32)
        widened <<= np.uint32(16)
        return widened.view(np.float32)
    return np.asarray(values, dtype=np.float32)


def read_tensors(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a safetensors file by name. Raises ConversionError on any damage."""
    size = path.stat().st_size
    header, data_offset = _read_header(path, size)
    tensors: dict[str, StoredTensor] = {}
    spans: list[tuple[int, int, str]] = []
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end, tensor = _read_entry(path, name, entry, data_offset)
        if end > size - data_offset:
            raise ConversionError(
                f"{path.name}: tensor {name!r} ends at byte {data_offset + end}, the file has only {size}; "
                "it is truncated, download it again"
            )
        spans.append((begin, end, name))
        tensors[name] = tensor
    _refuse_overlaps(path, spans)
    return tensors


def _read_header(path: Path, size: int) -> tuple[dict[str, Any], int]:
    with open_regular(path) as file:
        refuse_pointer(file.read(_POINTER_BYTES), path.name)
        file.seek(0)
        length_bytes = file.read(8)
        length = int.from_bytes(length_bytes, "little")
        if len(length_bytes) < 8 or not 2 <= length <= min(size - 8, _MAX_HEADER_BYTES):
            raise ConversionError(
                f"{path.name}: its header claims {length} bytes in a file of {size}; "
                "it is truncated or not a safetensors file"
            )
        raw = file.read(length)
    try:
        header = json.loads(raw.decode("utf-8"), object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise ConversionError(f"{path.name}: its header is not valid JSON ({error}); download it again") from None
    if not isinstance(header, dict):
        raise ConversionError(f"{path.name}: its header is not a JSON object; download it again")
    return header, 8 + length


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name!r:.80} appears twice")
        found[name] = value
    return found


def _read_entry(path: Path, name: str, entry: Any, data_offset: int) -> tuple[int, int, StoredTensor]:
    """Checks one header entry; its offsets count from the end of the header."""
    wrong = f"{path.name}: the header entry of tensor {name!r}"
    if not isinstance(entry, dict):
        raise ConversionError(f"{wrong} is not an object; download the file again")
    dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if not isinstance(dtype, str) or not _are_counts(shape) or not _are_counts(offsets) or len(offsets) != 2:
        raise ConversionError(f"{wrong} lacks a dtype, a shape or two offsets; download the file again")
    begin, end = offsets
    item = _DTYPES.get(dtype)
    if begin > end or (item is not None and end - begin != math.prod(shape) * item.itemsize):
        raise ConversionError(
            f"{wrong} spans bytes {begin} to {end}, which does not fit {dtype} of shape {shape}; "
            "download the file again"
        )
    return begin, end, StoredTensor(name, path, dtype, tuple(shape), data_offset + begin)


def _are_counts(values: Any) -> TypeGuard[list[int]]:
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)


def _refuse_overlaps(path: Path, spans: list[tuple[int, int, str]]) -> None:
    spans.sort()
    for (_, end, first), (begin, _, second) in pairwise(spans):
        if begin < end:
            raise ConversionError(
                f"{path.name}: tensors {first!r} and {second!r} overlap; it is damaged, download it again"
            )
