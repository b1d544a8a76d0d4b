"""The GGUF file: metadata and tensor directory first, then the tensors one block of rows at a time."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from edge_wsd.progress import Progress

from ..families.base import Planned
from .rows import float_rows, same_rows
from .storage import encode, n_bytes, stored_type
from .target import require_space

# Room for metadata and directory when the disk is checked; a vocabulary of 256k tokens takes about 12 MB.
_HEADER_RESERVE = 32 << 20


def write_gguf(
    path: Path, writer: Any, plan: Sequence[Planned], type_name: str, progress: Progress | None
) -> Counter[str]:
    """Fills the file at `path` with metadata of `writer` and the tensors of `plan`; counts tensors by stored type.

    `progress(done, total)` counts bytes of tensor data. Raises ConversionError, or OSError of the disk; then the file
    is incomplete.
    """
    types = [stored_type(tensor.shape, type_name) for tensor in plan]
    sizes = [n_bytes(tensor.shape, stored) for tensor, stored in zip(plan, types, strict=True)]
    total = sum(sizes)
    require_space(path.parent, total + _HEADER_RESERVE)
    for tensor, stored, size in zip(plan, types, sizes, strict=True):
        writer.add_tensor_info(tensor.name, tensor.shape, np.dtype(np.float32), size, raw_dtype=stored)
    _write_directory(writer, path)
    with path.open("r+b") as file:
        file.seek(0, os.SEEK_END)
        done = 0
        for tensor, stored in zip(plan, types, strict=True):
            _pad(file, writer.data_alignment)
            for data in _encoded_blocks(tensor, stored):
                file.write(data)
                done += len(data)
                if progress is not None:
                    progress(done, total)
        _pad(file, writer.data_alignment)
    return Counter(stored.name for stored in types)


def tensor_bytes(plan: Sequence[Planned], type_name: str) -> int:
    """The bytes of all tensors of `plan` in a file of `type_name`."""
    return sum(n_bytes(tensor.shape, stored_type(tensor.shape, type_name)) for tensor in plan)


def _encoded_blocks(tensor: Planned, stored: Any) -> Iterator[memoryview]:
    """The bytes of one tensor, block by block."""
    same = same_rows(tensor, stored.name)
    for rows in same if same is not None else (encode(rows, stored, tensor.name) for rows in float_rows(tensor)):
        yield rows.data.cast("B")


def _write_directory(writer: Any, path: Path) -> None:
    try:
        writer.write_header_to_file(path)
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
    finally:
        writer.close()


def _pad(file: IO[bytes], alignment: int) -> None:
    file.write(bytes(-file.tell() % alignment))
