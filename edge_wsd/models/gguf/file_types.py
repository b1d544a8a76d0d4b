"""Every type a GGUF file can be written in: the one home of their names. Imports nothing heavy.

>>> find_type("q4_k").name
'Q4_K_M'
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from edge_wsd.errors import ConversionError

Need = Literal["none", "advised", "required"]
_TERNARY = "it suits only a model that was trained with weights of three values"
_BINARY = "it suits only a model that was trained with weights of two values"
_FEW = "it suits only a model that was trained with weights of four values"


@dataclass(frozen=True, slots=True)
class QuantType:
    """A type of a file: most of its matrices have `tensor_type`, a few that matter more have another."""

    name: str
    file_type: int
    """The number in `general.file_type`, llama.cpp's `llama_ftype`."""
    tensor_type: str
    bits_per_weight: float
    """Of a model with the shape of Llama 3.1 8B; rows that do not divide into blocks, or small models, need more."""
    imatrix: Need = "none"
    """Whether an importance matrix makes a difference one should not be without, or is demanded by llama.cpp."""
    caution: str = ""
    """What must be true of a model before the type makes sense."""

    @property
    def is_float(self) -> bool:
        return self.tensor_type in ("F32", "F16", "BF16")

    @property
    def is_direct(self) -> bool:
        """Whether a conversion writes it without llama.cpp."""
        return self.is_float or self.name == "Q8_0"


_TYPES = (
    QuantType("F32", 0, "F32", 32.0),
    QuantType("F16", 1, "F16", 16.0),
    QuantType("BF16", 32, "BF16", 16.0),
    QuantType("Q8_0", 7, "Q8_0", 8.5),
    QuantType("Q6_K", 18, "Q6_K", 6.56),
    QuantType("Q5_1", 9, "Q5_1", 6.04),
    QuantType("Q5_K_M", 17, "Q5_K", 5.70),
    QuantType("Q5_K_S", 16, "Q5_K", 5.57),
    QuantType("Q5_0", 8, "Q5_0", 5.57),
    QuantType("Q4_1", 3, "Q4_1", 5.10),
    QuantType("Q4_K_M", 15, "Q4_K", 4.89),
    QuantType("Q4_K_S", 14, "Q4_K", 4.67),
    QuantType("IQ4_NL", 25, "IQ4_NL", 4.68),
    QuantType("Q4_0", 2, "Q4_0", 4.64),
    QuantType("IQ4_XS", 30, "IQ4_XS", 4.46),
    QuantType("Q3_K_L", 13, "Q3_K", 4.30),
    QuantType("Q3_K_M", 12, "Q3_K", 4.00),
    QuantType("IQ3_M", 27, "IQ3_S", 3.76, "advised"),
    QuantType("IQ3_S", 26, "IQ3_S", 3.66, "advised"),
    QuantType("Q3_K_S", 11, "Q3_K", 3.64, "advised"),
    QuantType("IQ3_XS", 22, "IQ3_S", 3.50, "required"),
    QuantType("IQ3_XXS", 23, "IQ3_XXS", 3.25, "required"),
    QuantType("Q2_K", 10, "Q2_K", 3.16, "advised"),
    QuantType("Q2_K_S", 21, "Q2_K", 2.97, "required"),
    QuantType("IQ2_M", 29, "IQ2_S", 2.93, "required"),
    QuantType("IQ2_S", 28, "IQ2_XS", 2.74, "required"),
    QuantType("IQ2_XS", 20, "IQ2_XS", 2.59, "required"),
    QuantType("IQ2_XXS", 19, "IQ2_XXS", 2.38, "required"),
    QuantType("IQ1_M", 31, "IQ1_M", 2.15, "required"),
    QuantType("IQ1_S", 24, "IQ1_S", 2.00, "required"),
    QuantType("Q2_0", 41, "Q2_0", 2.68, caution=_FEW),
    QuantType("TQ2_0", 37, "TQ2_0", 2.52, caution=_TERNARY),
    QuantType("TQ1_0", 36, "TQ1_0", 2.19, caution=_TERNARY),
    QuantType("Q1_0", 40, "Q1_0", 1.48, caution=_BINARY),
    QuantType("MXFP4_MOE", 38, "MXFP4", 8.5, caution="only the experts of a mixture become MXFP4, the rest is Q8_0"),
)
QUANT_TYPES: Mapping[str, QuantType] = {each.name: each for each in _TYPES}
SUPPORTED_TYPES: tuple[str, ...] = tuple(QUANT_TYPES)
ALIASES: Mapping[str, str] = {
    "FP32": "F32",
    "FP16": "F16",
    "Q5_K": "Q5_K_M",
    "Q4_K": "Q4_K_M",
    "Q3_K": "Q3_K_M",
    "MXFP4": "MXFP4_MOE",
}
"""Other names that people type."""
NEED_IMATRIX = frozenset({"IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS"})
"""Tensor types that llama.cpp does not make without an importance matrix."""


_USUAL: Mapping[str, str] = {
    "Q1": "Q1_0", "Q2": "Q2_K", "Q3": "Q3_K_M", "Q4": "Q4_K_M", "Q5": "Q5_K_M", "Q6": "Q6_K", "Q8": "Q8_0",
    "IQ1": "IQ1_M", "IQ2": "IQ2_M", "IQ3": "IQ3_M", "IQ4": "IQ4_XS", "TQ1": "TQ1_0", "TQ2": "TQ2_0",
}  # fmt: skip
"""What is meant by a type that only says how many bits: the one of its kind that most people take."""
_BITS = re.compile(r"(?P<kind>IQ|TQ|Q|INT|W)?(?P<bits>\d)(?:BITS?)?(?:[^\d].*)?")


def find_type(name: str) -> QuantType:
    """The type called `name`, in any case, or an alias of it. Raises ConversionError that names those there are."""
    wanted = name.strip().upper().replace("-", "_")
    found = QUANT_TYPES.get(ALIASES.get(wanted, wanted))
    if found is None:
        near = _meant(wanted)
        hint = f" (did you mean {near}?)" if near else ""
        raise ConversionError(f"type {name!r:.40} is unknown{hint}; expected one of {', '.join(SUPPORTED_TYPES)}")
    return found


def _meant(wanted: str) -> str | None:
    """The type that was probably meant: a slip of the hand, else the usual one of as many bits."""
    plain = wanted.replace("_", "")
    same = next((each for each in SUPPORTED_TYPES if each.replace("_", "") == plain), None)
    slips = difflib.get_close_matches(wanted, SUPPORTED_TYPES, n=1, cutoff=0.82)
    bits = _BITS.fullmatch(plain)
    kind = bits["kind"] if bits is not None and bits["kind"] in ("IQ", "TQ") else "Q"
    usual = _USUAL.get(f"{kind}{bits['bits']}") if bits is not None else None
    near = difflib.get_close_matches(wanted, SUPPORTED_TYPES, n=1)
    return same or next(iter(slips), None) or usual or next(iter(near), None)
