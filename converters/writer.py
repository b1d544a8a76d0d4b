"""The GGUF file: metadata and tensor directory first, then the tensors one block of rows at a time."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from edge_wsd.errors import ConversionError

from .base import Planned
from .safetensors_file import to_float32
from .storage import encode, n_bytes, stored_type

Progress = Callable[[int, int], None]
# Values converted at once: large enough for numpy to be fast, small against any large tensor.
_BLOCK_VALUES = 1 << 22
# Room for metadata and directory when the disk is checked; a vocabulary of 256k tokens takes about 12 MB.
_HEADER_RESERVE = 32 << 20


def write_gguf(
    target: Path, writer: Any, plan: Sequence[Planned], type_name: str, progress: Progress | None
) -> Counter[str]:
    """Writes metadata of `writer` and the tensors of `plan` to `target`; counts tensors by stored type.

    `progress(done, total)` counts bytes of tensor data. Raises ConversionError; then nothing is left behind.
    """
    types = [stored_type(tensor.shape, type_name) for tensor in plan]
    sizes = [n_bytes(tensor.shape, stored) for tensor, stored in zip(plan, types, strict=True)]
    total = sum(sizes)
    _require_space(target.parent, total + _HEADER_RESERVE)
    for tensor, stored, size in zip(plan, types, sizes, strict=True):
        writer.add_tensor_info(tensor.name, tensor.shape, np.dtype(np.float32), size, raw_dtype=stored)
    with _renamed_when_complete(target) as temporary:
        _write_directory(writer, temporary)
        with temporary.open("r+b") as file:
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
            file.flush()
            os.fsync(file.fileno())
    return Counter(stored.name for stored in types)


def _encoded_blocks(tensor: Planned, stored: Any) -> Iterator[memoryview]:
    """The bytes of one tensor, block by block; at most one arranged copy of it is in memory."""
    rows, dtype = _stored_rows(tensor)
    compute = tensor.weight.compute if tensor.weight else None
    step = max(1, _BLOCK_VALUES // max(1, rows.shape[-1]))
    for first in range(0, len(rows), step):
        block = to_float32(rows[first : first + step], dtype)
        if compute is not None:
            block = compute(block)
        yield encode(block, stored, tensor.name).data.cast("B")


def _stored_rows(tensor: Planned) -> tuple[npt.NDArray[Any], str]:
    if tensor.values is not None:
        return tensor.values.reshape(1, -1), "F32"
    if tensor.source is None or tensor.weight is None:
        raise ValueError(f"tensor {tensor.name!r} is planned without values or a source")
    values = tensor.source.open()
    if tensor.weight.arrange is not None:
        values = tensor.weight.arrange(values)
    return values.reshape(-1, tensor.shape[-1]), tensor.source.dtype


def _write_directory(writer: Any, path: Path) -> None:
    try:
        writer.write_header_to_file(path)
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
    finally:
        writer.close()


def _pad(file: IO[bytes], alignment: int) -> None:
    file.write(bytes(-file.tell() % alignment))


def _require_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ConversionError(
            f"{folder} has {free / 1e9:.1f} GB free, the file needs {needed / 1e9:.1f} GB; free some space"
        )


@contextmanager
def _renamed_when_complete(target: Path) -> Iterator[Path]:
    temporary = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        yield temporary
        os.replace(temporary, target)
    except OSError as error:
        raise ConversionError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)
