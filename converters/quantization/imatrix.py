"""Importance matrices: how strongly each column of a weight matrix is used, measured on a text.

llama.cpp's own file form is read and written, so a file made here serves its tools and the other way round. The
older binary form is read by `imatrix_dat`.

>>> read_imatrix("imatrix.gguf").weights()["blk.0.attn_q.weight"].shape
(2048,)
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_wsd.errors import ModelFileError, QuantizationError
from edge_wsd.files import replacing
from edge_wsd.models.gguf.fields import Fields
from edge_wsd.models.gguf.header import DEFAULT_ALIGNMENT, MAGIC, MAX_NAME_BYTES, TensorInfo, read_header
from edge_wsd.models.gguf.types import ValueType
from edge_wsd.reading import open_regular

from .imatrix_dat import read_dat

FILE_TYPE = "imatrix"
_DATASETS, _CHUNK_COUNT, _CHUNK_SIZE = (f"imatrix.{name}" for name in ("datasets", "chunk_count", "chunk_size"))
_SUMS, _COUNTS = ".in_sum2", ".counts"
_F32 = 0
_MOST_BYTES = 4 << 30  # that of a model of 60 layers and 384 experts has 1.5
_REMEDY = "the file is damaged, or no importance matrix: make it again with `edge-wsd imatrix`"


@dataclass(frozen=True, eq=False)
class Activations:
    """What went into one weight tensor.

    `sums`: squared activations summed per column, float32 of shape [n_groups, n_columns]. `counts`: activation
    vectors behind each row of `sums`, int64 of shape [n_groups]. One group, except for a tensor of experts: one each.
    """

    sums: npt.NDArray[np.float32]
    counts: npt.NDArray[np.int64]

    def mean_squares(self) -> npt.NDArray[np.float32]:
        """Mean square per column, flat. An expert that was never chosen gets ones: every column counts the same."""
        counts = self.counts.astype(np.float32)[:, None]
        means = np.ones_like(self.sums)
        np.divide(self.sums, counts, out=means, where=counts > 0)
        return means.reshape(-1)


@dataclass(frozen=True, eq=False)
class Imatrix:
    """An importance matrix: activations by tensor name, and what text they come from."""

    activations: Mapping[str, Activations]
    n_chunks: int
    chunk_size: int
    """Tokens per chunk; 0 if the file does not say. The counts are tokens then, else (older form) chunks."""
    datasets: tuple[str, ...] = ()

    def weights(self) -> dict[str, npt.NDArray[np.float32]]:
        """The mean squares by tensor name as `llama_model_quantize` takes them: flat, one expert after the other."""
        return {name: self.activations[name].mean_squares() for name in sorted(self.activations)}


def read_imatrix(path: str | Path) -> Imatrix:
    """The importance matrix in the file at `path`, in llama.cpp's GGUF form or the older binary one.

    Raises `ModelFileError` in one line if there is none, or a damaged one.
    """
    path = Path(path)
    try:
        with open_regular(path) as file:
            if file.seek(0, 2) > _MOST_BYTES:
                raise ModelFileError(f"{path}: is larger than {_MOST_BYTES >> 30} GiB, which no importance matrix is")
            file.seek(0)
            head = file.read(len(MAGIC))
            if head != MAGIC:
                return _from_dat(path)
        return _from_gguf(path)
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read: {error.strerror or error}; check its name") from error


def _from_dat(path: Path) -> Imatrix:
    content = read_dat(path)
    activations = {}
    for name, (sums, n_calls) in content.entries.items():
        # A count of zero means here that the values are means already.
        activations[name] = Activations(_checked(path, name, sums)[None, :], np.array([max(n_calls, 1)], np.int64))
    return Imatrix(activations, content.n_chunks, 0, content.datasets)


def _from_gguf(path: Path) -> Imatrix:
    fields = Fields(path, read_header(path))
    kind = fields.scalar("general.type", ValueType.STRING)
    if kind != FILE_TYPE:
        raise ModelFileError(
            f"{path}: is a GGUF file of type {kind or 'model'!r:.40}, not an importance matrix; "
            "make one with `edge-wsd imatrix`"
        )
    for key in (_DATASETS, _CHUNK_COUNT, _CHUNK_SIZE):
        if key not in fields:
            raise fields.error(f"{key} is missing", _REMEDY)
    datasets = fields.array(_DATASETS, ValueType.STRING)
    pairs = _pairs(fields)
    with open_regular(path) as file:

        def values(tensor: TensorInfo) -> npt.NDArray[np.float32]:
            file.seek(fields.header.data_offset + tensor.offset)
            data = np.fromfile(file, "<f4", tensor.n_bytes // 4)
            if data.nbytes != tensor.n_bytes:
                raise fields.error(f"tensor {tensor.name} is cut off", _REMEDY)
            return _checked(path, tensor.name, data)

        activations = {
            name: _activations(fields, name, values(sums), values(counts)) for name, (sums, counts) in pairs.items()
        }
    return Imatrix(
        activations,
        fields.scalar(_CHUNK_COUNT, ValueType.UINT32),
        fields.scalar(_CHUNK_SIZE, ValueType.UINT32),
        tuple(datasets or ()),
    )


def _pairs(fields: Fields) -> dict[str, tuple[TensorInfo, TensorInfo]]:
    """Sums and counts by the name of the weight tensor."""
    tensors = {tensor.name: tensor for tensor in fields.header.tensors}
    pairs = {}
    for name, sums in tensors.items():
        if not name.endswith(_SUMS):
            if not (name.endswith(_COUNTS) and name.removesuffix(_COUNTS) + _SUMS in tensors):
                raise fields.error(f"tensor {name} belongs to no pair of sums and counts", _REMEDY)
            continue
        weight = name.removesuffix(_SUMS)
        counts = tensors.get(weight + _COUNTS)
        if not weight or counts is None:
            raise fields.error(f"{name} has no counts beside it", _REMEDY)
        if sums.type != _F32 or counts.type != _F32:
            raise fields.error(f"{name} and its counts are {sums.type_name} and {counts.type_name}, not F32", _REMEDY)
        pairs[weight] = sums, counts
    if not pairs:
        raise fields.error("holds no activations", _REMEDY)
    return pairs


def _activations(
    fields: Fields, name: str, sums: npt.NDArray[np.float32], counts: npt.NDArray[np.float32]
) -> Activations:
    if len(sums) % len(counts):
        raise fields.error(f"{name} has {len(sums)} sums for {len(counts)} counts", _REMEDY)
    return Activations(sums.reshape(len(counts), -1), np.rint(counts).astype(np.int64))


def _checked(path: Path, name: str, values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    if not (np.isfinite(values).all() and values.min() >= 0 and values.max() < 2**126):
        raise ModelFileError(f"{path}: {name} holds values that are not sums of squares; {_REMEDY}")
    return np.ascontiguousarray(values, np.float32)


def write_imatrix(path: str | Path, imatrix: Imatrix) -> None:
    """Writes the GGUF form, byte for byte as llama.cpp's `llama-imatrix` would, whole or not at all.

    Replaces an existing file. Raises `QuantizationError`.
    """
    path = Path(path)
    try:
        with replacing(path) as file:
            file.write(_header(imatrix))
            file.writelines(_data(imatrix))
    except OSError as error:
        raise QuantizationError(f"{path}: cannot be written: {error.strerror or error}") from error


def _stored(imatrix: Imatrix) -> Iterator[tuple[str, npt.NDArray[np.float32]]]:
    """Tensors in the order of the file; arrays have the shape [n_groups, row length]."""
    for name in sorted(imatrix.activations):
        activations = imatrix.activations[name]
        yield name + _SUMS, activations.sums
        yield name + _COUNTS, activations.counts.astype(np.float32)[:, None]


def _header(imatrix: Imatrix) -> bytes:
    directory, offset, n_tensors = b"", 0, 0
    for name, values in _stored(imatrix):
        if len(name.encode()) > MAX_NAME_BYTES:
            raise QuantizationError(f"tensor name {name!r} is longer than the {MAX_NAME_BYTES} bytes a file can hold")
        n_groups, row = values.shape
        shape = (row,) if n_groups == 1 else (row, n_groups)
        directory += _text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, _F32, offset)
        offset += _padded(values.nbytes)
        n_tensors += 1
    metadata = _text("general.type") + struct.pack("<I", ValueType.STRING) + _text(FILE_TYPE)
    metadata += _text(_DATASETS) + struct.pack("<IIQ", ValueType.ARRAY, ValueType.STRING, len(imatrix.datasets))
    metadata += b"".join(map(_text, imatrix.datasets))
    metadata += _text(_CHUNK_COUNT) + struct.pack("<II", ValueType.UINT32, imatrix.n_chunks)
    metadata += _text(_CHUNK_SIZE) + struct.pack("<II", ValueType.UINT32, imatrix.chunk_size)
    header = MAGIC + struct.pack("<IQQ", 3, n_tensors, 4) + metadata + directory
    return header.ljust(_padded(len(header)), b"\0")


def _data(imatrix: Imatrix) -> Iterator[bytes]:
    for _, values in _stored(imatrix):
        data = np.ascontiguousarray(values, "<f4").tobytes()
        yield data.ljust(_padded(len(data)), b"\0")


def _padded(n_bytes: int) -> int:
    return -(-n_bytes // DEFAULT_ALIGNMENT) * DEFAULT_ALIGNMENT


def _text(text: str) -> bytes:
    raw = text.encode(errors="replace")
    return struct.pack("<Q", len(raw)) + raw
