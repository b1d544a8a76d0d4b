"""The binary form of importance matrices from before GGUF, which many published `imatrix.dat` files still have.

Number of entries; for each its name, number of calls and values (means times calls); then, in later files, the
number of chunks and the name of the text. Nothing in the file is trusted: it has no magic to tell it by.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from edge_wsd.errors import ModelFileError
from edge_wsd.models.gguf.header import MAX_NAME_BYTES
from edge_wsd.reading import open_regular

_INT = struct.Struct("<i")
_SMALLEST_ENTRY = _INT.size + 1 + 2 * _INT.size + 4  # name length, name, calls, number of values, one value
_LONGEST_DATASET = 1 << 16


@dataclass(frozen=True)
class DatContent:
    """`entries`: values (float32, flat) and number of calls by tensor name."""

    entries: dict[str, tuple[npt.NDArray[np.float32], int]] = field(default_factory=dict)
    n_chunks: int = 0
    datasets: tuple[str, ...] = ()


class _DatFile:
    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file, self._path = file, path
        self.left = file.seek(0, 2)
        file.seek(0)

    def error(self, defect: str) -> ModelFileError:
        return ModelFileError(
            f"{self._path}: is no importance matrix: {defect}; give a file that llama-imatrix or "
            "`edge-wsd imatrix` made"
        )

    def take(self, n_bytes: int, what: str) -> bytes:
        if not 0 <= n_bytes <= self.left:
            raise self.error(f"{what} needs {n_bytes} bytes, but {self.left} are left")
        raw = self._file.read(n_bytes)
        if len(raw) < n_bytes:
            raise self.error(f"{what} is cut off")
        self.left -= n_bytes
        return raw

    def integer(self, what: str) -> int:
        return int(_INT.unpack(self.take(_INT.size, what))[0])

    def text(self, what: str, longest: int) -> str:
        length = self.integer(f"the length of {what}")
        if not 0 <= length <= longest:
            raise self.error(f"{what} claims {length} bytes")
        try:
            return self.take(length, what).decode()
        except UnicodeDecodeError:
            raise self.error(f"{what} is not valid UTF-8") from None


def read_dat(path: Path) -> DatContent:
    """Content of the file at `path`. Raises `ModelFileError`, OSError."""
    with open_regular(path) as file:
        reader = _DatFile(file, path)
        n_entries = reader.integer("the number of entries")
        if not 0 < n_entries <= reader.left // _SMALLEST_ENTRY:
            raise reader.error(f"it claims {n_entries} entries in {reader.left} bytes")
        entries: dict[str, tuple[npt.NDArray[np.float32], int]] = {}
        for index in range(n_entries):
            name = reader.text(f"the name of entry {index}", MAX_NAME_BYTES)
            if not name or name in entries:
                raise reader.error(f"entry {index} has " + ("no name" if not name else f"the name of another: {name}"))
            n_calls = reader.integer(f"the number of calls of {name}")
            n_values = reader.integer(f"the number of values of {name}")
            if n_values < 1:
                raise reader.error(f"{name} has {n_values} values")
            values = np.frombuffer(reader.take(4 * n_values, name), "<f4")
            entries[name] = values, n_calls
        if not reader.left:  # files from before the trailer
            return DatContent(entries)
        n_chunks = reader.integer("the number of chunks")
        dataset = reader.text("the name of the text", _LONGEST_DATASET) if reader.left else ""
        return DatContent(entries, max(n_chunks, 0), (dataset,) if dataset else ())
