"""A SentencePiece model file (a protocol buffer), read without the sentencepiece package."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path

from edge_wsd.errors import ConversionError
from edge_wsd.reading import read_bounded

from ..checkpoint.json_files import refuse_pointer

# Field numbers of sentencepiece_model.proto.
_PIECE, _TRAINER, _NORMALIZER = 1, 2, 3
_PIECE_TEXT, _PIECE_SCORE, _PIECE_TYPE = 1, 2, 3
_TRAINER_KIND = 3
_CHARSMAP, _DUMMY_PREFIX = 2, 3
_KINDS = {1: "unigram", 2: "bpe", 3: "word", 4: "char"}

# Twelve times the largest of any known model.
MOST_BYTES = 64 * 2**20
_LAST_TYPE = 6
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True)
class SentencePiece:
    """`type` has the numbers that GGUF uses for token types as well."""

    text: str
    score: float
    type: int


@dataclass
class SentencePieceModel:
    """`kind` is "bpe", "unigram", "word" or "char"; `normalizes`: text is rewritten by a table first."""

    pieces: list[SentencePiece] = field(default_factory=list)
    kind: str = "unigram"
    add_dummy_prefix: bool = True
    normalizes: bool = False


def read_sentencepiece(folder: Path, name: str) -> SentencePieceModel | None:
    """The model in a file of `folder`; None without it. Raises ConversionError, naming the file, when it is none."""
    try:
        data = read_bounded(folder / name, MOST_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ConversionError(f"{name} cannot be read: {error.strerror or error}") from None
    return parse_sentencepiece(data, name)


def parse_sentencepiece(data: bytes, name: str) -> SentencePieceModel:
    """The model in `data`. Raises ConversionError, naming the file, when it is none."""
    refuse_pointer(data, name)
    model = SentencePieceModel()
    try:
        for number, value in _fields(data):
            if number == _PIECE:
                model.pieces.append(_piece(_as_bytes(value)))
            elif number == _TRAINER:
                _read_trainer(_as_bytes(value), model)
            elif number == _NORMALIZER:
                _read_normalizer(_as_bytes(value), model)
    except (ValueError, IndexError, struct.error) as error:
        raise ConversionError(f"{name} is not a SentencePiece model ({error}); download it again") from None
    if not model.pieces:
        raise ConversionError(f"{name} is not a SentencePiece model (it has no pieces); download it again")
    return model


def _piece(data: bytes) -> SentencePiece:
    text, score, kind = "", 0.0, 1
    for number, value in _fields(data):
        if number == _PIECE_TEXT:
            text = _as_bytes(value).decode("utf-8")
        elif number == _PIECE_SCORE:
            (score,) = struct.unpack("<f", _as_bytes(value))
        elif number == _PIECE_TYPE:
            kind = _as_int(value)
    if not 1 <= kind <= _LAST_TYPE or not isfinite(score):
        raise ValueError(f"piece {text!r:.40} has type {kind} and score {score}")
    return SentencePiece(text, score, kind)


def _read_trainer(data: bytes, model: SentencePieceModel) -> None:
    for number, value in _fields(data):
        if number == _TRAINER_KIND:
            model.kind = _KINDS.get(_as_int(value), f"kind {value!r}")


def _read_normalizer(data: bytes, model: SentencePieceModel) -> None:
    for number, value in _fields(data):
        if number == _DUMMY_PREFIX:
            model.add_dummy_prefix = bool(_as_int(value))
        elif number == _CHARSMAP:
            model.normalizes = bool(_as_bytes(value))


def _as_bytes(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("a field has an unexpected type")
    return value


def _as_int(value: int | bytes) -> int:
    if not isinstance(value, int):
        raise ValueError("a field has an unexpected type")
    return value


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Field numbers with their values: whole numbers, or the raw bytes of everything else."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        wire = key & 7
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        if wire == _BYTES:
            length, at = _varint(data, at)
        elif wire in (_FIXED32, _FIXED64):
            length = 4 if wire == _FIXED32 else 8
        else:
            raise ValueError(f"wire type {wire} at byte {at}")
        if length > len(data) - at:
            raise ValueError(f"a field ends beyond byte {len(data)}")
        yield key >> 3, data[at : at + length]
        at += length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError(f"a number at byte {at} has no end")
