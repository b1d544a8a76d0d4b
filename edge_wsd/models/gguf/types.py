"""The value types and tensor types a GGUF file may hold, with their sizes.

>>> TENSOR_TYPES[8]
TensorType(name='Q8_0', block=32, block_bytes=34, multiplies=True)
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class ValueType(IntEnum):
    """Type of a metadata value, numbered as in the file."""

    UINT8 = 0
    INT8 = 1
    UINT16 = 2
    INT16 = 3
    UINT32 = 4
    INT32 = 5
    FLOAT32 = 6
    BOOL = 7
    STRING = 8
    ARRAY = 9
    UINT64 = 10
    INT64 = 11
    FLOAT64 = 12


@dataclass(frozen=True, slots=True)
class Number:
    """How a number lies in the file: `code` for `struct`, `array_code` for `array.array`, size in bytes."""

    code: str
    array_code: str
    n_bytes: int


NUMBERS = {
    ValueType.UINT8: Number("B", "B", 1),
    ValueType.INT8: Number("b", "b", 1),
    ValueType.UINT16: Number("H", "H", 2),
    ValueType.INT16: Number("h", "h", 2),
    ValueType.UINT32: Number("I", "I", 4),
    ValueType.INT32: Number("i", "i", 4),
    ValueType.FLOAT32: Number("f", "f", 4),
    ValueType.BOOL: Number("?", "B", 1),
    ValueType.UINT64: Number("Q", "Q", 8),
    ValueType.INT64: Number("q", "q", 8),
    ValueType.FLOAT64: Number("d", "d", 8),
}


@dataclass(frozen=True, slots=True)
class TensorType:
    """A tensor's element type: `block` elements of a row lie together in `block_bytes` bytes."""

    name: str
    block: int
    block_bytes: int
    multiplies: bool = True
    """Whether llama.cpp can multiply with a weight matrix of this type."""


TENSOR_TYPES = {
    0: TensorType("F32", 1, 4),
    1: TensorType("F16", 1, 2),
    2: TensorType("Q4_0", 32, 18),
    3: TensorType("Q4_1", 32, 20),
    6: TensorType("Q5_0", 32, 22),
    7: TensorType("Q5_1", 32, 24),
    8: TensorType("Q8_0", 32, 34),
    9: TensorType("Q8_1", 32, 36, multiplies=False),
    10: TensorType("Q2_K", 256, 84),
    11: TensorType("Q3_K", 256, 110),
    12: TensorType("Q4_K", 256, 144),
    13: TensorType("Q5_K", 256, 176),
    14: TensorType("Q6_K", 256, 210),
    15: TensorType("Q8_K", 256, 292, multiplies=False),
    16: TensorType("IQ2_XXS", 256, 66),
    17: TensorType("IQ2_XS", 256, 74),
    18: TensorType("IQ3_XXS", 256, 98),
    19: TensorType("IQ1_S", 256, 50),
    20: TensorType("IQ4_NL", 32, 18),
    21: TensorType("IQ3_S", 256, 110),
    22: TensorType("IQ2_S", 256, 82),
    23: TensorType("IQ4_XS", 256, 136),
    24: TensorType("I8", 1, 1, multiplies=False),
    25: TensorType("I16", 1, 2, multiplies=False),
    26: TensorType("I32", 1, 4, multiplies=False),
    27: TensorType("I64", 1, 8, multiplies=False),
    28: TensorType("F64", 1, 8, multiplies=False),
    29: TensorType("IQ1_M", 256, 56),
    30: TensorType("BF16", 1, 2),
    34: TensorType("TQ1_0", 256, 54),
    35: TensorType("TQ2_0", 256, 66),
    39: TensorType("MXFP4", 32, 17),
    40: TensorType("NVFP4", 64, 36),
    41: TensorType("Q1_0", 128, 18),
    42: TensorType("Q2_0", 64, 18),
}
