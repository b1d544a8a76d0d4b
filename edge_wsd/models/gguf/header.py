"""Reads the header of a GGUF file: metadata and the list of tensors, never the weights.

Nothing in the file is trusted: every count, length, type and offset is held against the bytes that are really
there before memory is taken for it. What the values mean is checked in `check`.

>>> read_header(path).metadata["general.architecture"]
'llama'
"""

from __future__ import annotations

import struct
import sys
from array import array
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

from edge_wsd._native import split_texts
from edge_wsd.errors import ModelFileError
from edge_wsd.models.gguf.types import NUMBERS, TENSOR_TYPES, ValueType
from edge_wsd.reading import open_regular

MAGIC = b"GGUF"
VERSIONS = (2, 3)
DEFAULT_ALIGNMENT = 32
MAX_HEADER_BYTES = 1 << 27
"""The largest vocabularies in use need about a seventh of this."""
MAX_KEY_BYTES, MAX_TEXT_BYTES, MAX_ELEMENT_BYTES = 1 << 16, 1 << 25, 1 << 16
"""Keys, as the format has it; a text, such as a whole tokenizer as JSON; a text in an array."""
MAX_PAIRS, MAX_TENSORS, MAX_ELEMENTS = 1 << 14, 1 << 16, 1 << 22
"""Values, tensors, and elements of all arrays together. Models in use have about 60, 2,000 and a million."""
MAX_TRAILING_BYTES = 1 << 20
"""Behind the last tensor. llama.cpp maps a file whole, whatever it is."""
MIN_ALIGNMENT = 32
"""llama.cpp ends the process when it is handed a tensor that lies elsewhere."""
MAX_NAME_BYTES = 63
"""Longest tensor name llama.cpp can hold."""
MAX_DIMENSIONS = 4
_CHUNK_BYTES = 1 << 20
_MOST_CHARACTERS = 400
_SMALLEST_PAIR = 8 + 1 + 4 + 1  # key length, key, type, value
_SMALLEST_TENSOR = 8 + 4 + 4 + 8  # name length, number of dimensions, type, offset
_LENGTH = struct.Struct("<Q")
REMEDY = "the file is damaged or incomplete: fetch or convert it again"


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor. `shape` begins with the row length, as in the file; `offset` counts from the data section."""

    name: str
    shape: tuple[int, ...]
    type: int
    offset: int
    n_bytes: int

    @property
    def type_name(self) -> str:
        return TENSOR_TYPES[self.type].name


@dataclass(frozen=True)
class GgufHeader:
    """All of a GGUF file except the weights. Sizes and offsets in bytes."""

    version: int
    metadata: dict[str, Any]
    """Strings, ints, floats, bools; arrays are lists of strings or `array.array` of numbers."""
    types: dict[str, ValueType]
    """Type of each metadata value; of an array, the type of its elements."""
    tensors: tuple[TensorInfo, ...]
    alignment: int
    data_offset: int
    file_size: int
    arrays: frozenset[str] = field(default_factory=frozenset)
    """Keys whose value is an array."""


def on_one_line(defect: str) -> str:
    """A defect as one line that is not too long: names out of a damaged file may hold anything."""
    if len(defect) > _MOST_CHARACTERS:
        defect = defect[:_MOST_CHARACTERS] + "..."
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in defect)


class _Bytes:
    """Takes values off the front of a file, never past its end and never more than `MAX_HEADER_BYTES`."""

    def __init__(self, file: BinaryIO, path: Path, size: int) -> None:
        self._file, self._path, self.size = file, path, size
        self._window, self._at, self._passed = b"", 0, 0
        self._elements_left = MAX_ELEMENTS

    def error(self, defect: str) -> ModelFileError:
        return ModelFileError(f"{self._path}: {on_one_line(defect)}; {REMEDY}")

    @property
    def position(self) -> int:
        return self._passed + self._at

    @property
    def left(self) -> int:
        """Bytes between here and the end of the file."""
        return self.size - self.position

    def need(self, n_bytes: int, what: str) -> None:
        """Makes the next `n_bytes` readable from the window."""
        have = len(self._window) - self._at
        if n_bytes <= have:
            return
        if n_bytes > self.left:
            raise self.error(f"{what} needs {n_bytes} bytes, but the file ends after {self.left}")
        if self.position + n_bytes > MAX_HEADER_BYTES:
            raise self.error(f"{what} makes the header larger than {MAX_HEADER_BYTES >> 20} MiB")
        self._passed += self._at
        fresh = self._file.read(max(n_bytes - have, _CHUNK_BYTES))
        self._window, self._at = self._window[self._at :] + fresh, 0
        if len(self._window) < n_bytes:
            raise self.error(f"{what} could not be read whole: the file became shorter while it was read")

    def allow(self, n_elements: int, what: str) -> None:
        """Counts the elements of arrays: each costs far more in memory than the eight bytes it may have here."""
        self._elements_left -= n_elements
        if self._elements_left < 0:
            raise self.error(f"{what} has {n_elements} elements, with which the header has more than {MAX_ELEMENTS}")

    def take(self, n_bytes: int, what: str) -> bytes:
        self.need(n_bytes, what)
        start = self._at
        self._at = start + n_bytes
        return self._window[start : self._at]

    def number(self, type_: ValueType, what: str) -> Any:
        number = NUMBERS[type_]
        return struct.unpack("<" + number.code, self.take(number.n_bytes, what))[0]

    def text(self, what: str, most: int = MAX_TEXT_BYTES) -> str:
        length = self.number(ValueType.UINT64, f"the length of {what}")
        if length > self.left:
            raise self.error(f"{what} claims {length} bytes, but the file ends after {self.left}")
        if length > most:
            raise self.error(f"{what} has {length} bytes, expected at most {most}")
        return self._decode(self.take(length, what), what)

    def _decode(self, raw: bytes, what: str) -> str:
        try:
            return raw.decode()
        except UnicodeDecodeError:
            raise self.error(f"{what} is not valid UTF-8: {raw[:40]!r}") from None

    def texts(self, count: int, what: str) -> list[str]:
        texts: list[str] = []
        while True:
            more, self._at = split_texts(self._window, self._at, count - len(texts), MAX_ELEMENT_BYTES)
            texts += more
            if len(texts) == count:
                return texts
            texts.append(self._element(f"element {len(texts)} of {what}"))

    def _element(self, what: str) -> str:
        """One that reaches past the window, or has a defect."""
        length = self.number(ValueType.UINT64, what)
        if MAX_ELEMENT_BYTES < length <= self.left:
            raise self.error(f"{what} has {length} bytes, expected at most {MAX_ELEMENT_BYTES}")
        return self._decode(self.take(length, what), what)

    def numbers(self, type_: ValueType, count: int, what: str) -> array[Any]:
        number = NUMBERS[type_]
        values = array(number.array_code)
        values.frombytes(self.take(count * number.n_bytes, what))
        if sys.byteorder == "big":
            values.byteswap()
        return values


def read_header(path: str | Path) -> GgufHeader:
    """Header of the GGUF file at `path`. Raises `ModelFileError` that names the first defect found."""
    path = Path(path)
    try:
        with open_regular(path) as file:
            size = file.seek(0, 2)
            file.seek(0)
            return _read(_Bytes(file, path, size))
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read: {error.strerror or error}") from error


def _read(reader: _Bytes) -> GgufHeader:
    magic = reader.take(len(MAGIC), "the magic") if reader.size >= len(MAGIC) else b""
    if magic != MAGIC:
        raise reader.error(f"not a GGUF file: it begins with {magic!r} instead of {MAGIC!r}")
    version = reader.number(ValueType.UINT32, "the version")
    if version not in VERSIONS:
        swapped = int.from_bytes(version.to_bytes(4, "little"), "big")
        reason = "written for big-endian machines" if swapped in VERSIONS else "expected 2 or 3"
        raise reader.error(f"GGUF version {version} is not supported ({reason})")
    n_tensors = reader.number(ValueType.UINT64, "the number of tensors")
    n_pairs = reader.number(ValueType.UINT64, "the number of metadata values")
    for count, smallest, most, what in (
        (n_pairs, _SMALLEST_PAIR, MAX_PAIRS, "metadata values"),
        (n_tensors, _SMALLEST_TENSOR, MAX_TENSORS, "tensors"),
    ):
        if count * smallest > reader.left:
            raise reader.error(f"claims {count} {what}, more than its {reader.size} bytes can hold")
        if count > most:
            raise reader.error(f"claims {count} {what}, expected at most {most}")
    metadata, types, arrays = _read_metadata(reader, n_pairs)
    alignment = _alignment(reader, metadata, types, arrays)
    tensors = _read_tensors(reader, n_tensors, alignment)
    data_offset = _round_up(reader.position, alignment)
    _check_places(reader, tensors, alignment, data_offset)
    return GgufHeader(version, metadata, types, tensors, alignment, data_offset, reader.size, arrays)


def _read_metadata(reader: _Bytes, count: int) -> tuple[dict[str, Any], dict[str, ValueType], frozenset[str]]:
    metadata: dict[str, Any] = {}
    types: dict[str, ValueType] = {}
    arrays: set[str] = set()
    for index in range(count):
        key = reader.text(f"the name of metadata value {index}", MAX_KEY_BYTES)
        if not key:
            raise reader.error(f"metadata value {index} has no name")
        if key in metadata:
            raise reader.error(f"metadata value {key} appears twice")
        type_ = _value_type(reader, key)
        if type_ is not ValueType.ARRAY:
            metadata[key] = reader.text(key) if type_ is ValueType.STRING else reader.number(type_, key)
        else:
            arrays.add(key)
            type_ = _value_type(reader, key)
            metadata[key] = _read_array(reader, key, type_)
        types[key] = type_
    return metadata, types, frozenset(arrays)


def _value_type(reader: _Bytes, key: str) -> ValueType:
    number = reader.number(ValueType.UINT32, f"the type of {key}")
    try:
        return ValueType(number)
    except ValueError:
        raise reader.error(f"{key} has the unknown type {number}") from None


def _read_array(reader: _Bytes, key: str, type_: ValueType) -> list[str] | array[Any]:
    if type_ is ValueType.ARRAY:
        raise reader.error(f"{key} is an array of arrays, which llama.cpp does not read")
    count = reader.number(ValueType.UINT64, f"the length of {key}")
    smallest = _LENGTH.size if type_ is ValueType.STRING else NUMBERS[type_].n_bytes
    if count * smallest > reader.left:
        raise reader.error(f"{key} claims {count} elements, but the file ends after {reader.left} bytes")
    reader.allow(count, key)
    if type_ is ValueType.STRING:
        return reader.texts(count, key)
    return reader.numbers(type_, count, key)


def _alignment(reader: _Bytes, metadata: dict[str, Any], types: dict[str, ValueType], arrays: frozenset[str]) -> int:
    key = "general.alignment"
    if key not in metadata:
        return DEFAULT_ALIGNMENT
    value = metadata[key]
    if key in arrays or types[key] is not ValueType.UINT32:
        raise reader.error(f"{key} must be a uint32")
    if value < MIN_ALIGNMENT or value & (value - 1) or value > reader.size:
        raise reader.error(f"{key} is {value}, expected a power of two from {MIN_ALIGNMENT} to the size of the file")
    return int(value)


def _read_tensors(reader: _Bytes, count: int, alignment: int) -> tuple[TensorInfo, ...]:
    tensors: list[TensorInfo] = []
    names: set[str] = set()
    for index in range(count):
        name = reader.text(f"the name of tensor {index}")
        if not 0 < len(name.encode()) <= MAX_NAME_BYTES:
            raise reader.error(f"tensor {index} has a name of {len(name.encode())} bytes, not 1 to {MAX_NAME_BYTES}")
        if name in names:
            raise reader.error(f"tensor {name} appears twice")
        names.add(name)
        n_dimensions = reader.number(ValueType.UINT32, f"the shape of {name}")
        if not 1 <= n_dimensions <= MAX_DIMENSIONS:
            raise reader.error(f"tensor {name} has {n_dimensions} dimensions, not 1 to {MAX_DIMENSIONS}")
        shape = tuple(reader.number(ValueType.UINT64, f"the shape of {name}") for _ in range(n_dimensions))
        type_ = reader.number(ValueType.UINT32, f"the type of {name}")
        offset = reader.number(ValueType.UINT64, f"the offset of {name}")
        tensors.append(TensorInfo(name, shape, type_, offset, _n_bytes(reader, name, shape, type_)))
    return tuple(tensors)


def _n_bytes(reader: _Bytes, name: str, shape: tuple[int, ...], type_: int) -> int:
    if type_ not in TENSOR_TYPES:
        raise reader.error(f"tensor {name} has the type {type_}, which is unknown or no longer supported")
    kind = TENSOR_TYPES[type_]
    if 0 in shape:
        raise reader.error(f"tensor {name} is empty: its shape is {list(shape)}")
    if shape[0] % kind.block:
        raise reader.error(
            f"tensor {name} has rows of {shape[0]} elements; {kind.name} needs multiples of {kind.block}"
        )
    n_bytes = prod(shape) // kind.block * kind.block_bytes
    if n_bytes > reader.size:
        raise reader.error(f"tensor {name} of shape {list(shape)} is larger than the file of {reader.size} bytes")
    return n_bytes


def _check_places(reader: _Bytes, tensors: tuple[TensorInfo, ...], alignment: int, data_offset: int) -> None:
    """Tensors must follow each other in the order of the list, padded to the alignment, and end inside the file."""
    expected = 0
    for tensor in tensors:
        if tensor.offset != expected:
            relation = "overlaps the one before it" if tensor.offset < expected else "leaves a gap before it"
            raise reader.error(
                f"tensor {tensor.name} {relation}: it is at byte {tensor.offset} of the data, expected {expected}"
            )
        end = data_offset + tensor.offset + tensor.n_bytes
        if end > reader.size:
            raise reader.error(f"tensor {tensor.name} ends at byte {end}, but the file has only {reader.size} bytes")
        expected += _round_up(tensor.n_bytes, alignment)
    behind = reader.size - max(data_offset + expected, reader.position)
    if behind > MAX_TRAILING_BYTES:
        raise reader.error(f"{behind} bytes follow its last tensor, which the header does not mention")


def _round_up(value: int, alignment: int) -> int:
    return -(-value // alignment) * alignment
