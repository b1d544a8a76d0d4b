"""Which weights llama.cpp rearranges for this processor, in buffers of extra types.

Such weights are copied out of the file into memory of their own, also where the file is mapped: they cannot be dropped
and read again as pages of the file can.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import prod
from types import MappingProxyType

from edge_wsd.llama import kernels, library
from edge_wsd.llama.library import ggml_function
from edge_wsd.llama.settings import ModelSettings

AMX, REPACK = "AMX", "CPU_REPACK"
_CPU = 0  # ggml's number of this type of device


@dataclass(frozen=True, slots=True)
class Repacking:
    """What becomes of the matrices of one type whose number of rows is a multiple of `rows`."""

    rows: int = 8
    added: int = 0
    """Bytes that each block of a single matrix grows by."""
    experts: bool = True
    """Whether stacks of matrices are rearranged too, of which a token uses some."""

    def takes(self, shape: Sequence[int]) -> bool:
        """Whether a tensor is rearranged; `shape` begins with the row length."""
        return len(shape) > 1 and shape[1] % self.rows == 0 and (len(shape) == 2 or self.experts)

    def added_bytes(self, shape: Sequence[int], block: int) -> int:
        """What such a tensor takes more than in the file; `block` elements of its type are stored together."""
        return prod(shape) // block * self.added if len(shape) == 2 else 0


NOTHING_REPACKED: Mapping[str, Repacking] = MappingProxyType({})

_BY_FEATURE = {
    "avx2": ("Q4_0", "Q4_K", "IQ4_NL", "MXFP4"),
    "avx512": ("Q2_K",),
    "dotprod": ("Q4_0", "Q4_K", "Q5_K", "Q6_K", "Q8_0", "IQ4_NL", "MXFP4"),
}
# Bytes that AMX adds to a block: sums that its products need.
_AMX_ADDED = {"F16": 0, "Q4_0": 0, "Q4_1": 0, "Q8_0": 4, "Q4_K": 4, "Q5_K": 4, "Q6_K": 0, "IQ4_XS": 2}
_AMX_ROWS = 32


def repacked_types(settings: ModelSettings) -> Mapping[str, Repacking]:
    """By the name of the tensor type, for a model with these settings."""
    return repackings() if kernels.uses_extra_buffers(settings) else NOTHING_REPACKED


@cache
def repackings() -> Mapping[str, Repacking]:
    """What the installed llama.cpp rearranges on this processor when it may. AMX comes before the other buffers."""
    names = extra_buffer_names()
    found: dict[str, Repacking] = {}
    if REPACK in names:
        for feature, types in _BY_FEATURE.items():
            if _has(feature):
                found.update(dict.fromkeys(types, Repacking()))
    if AMX in names:
        amx = {name: Repacking(_AMX_ROWS, added, experts=name in found) for name, added in _AMX_ADDED.items()}
        found.update(amx)
    return found


def _has(feature: str) -> bool:
    try:
        return bool(ggml_function(f"ggml_cpu_has_{feature}", ctypes.c_int)())
    except AttributeError:  # backends are loaded apart in this build
        return False


def extra_buffer_names() -> list[str]:
    """Names of the buffer types that rearranged weights lie in, such as AMX and CPU_REPACK."""
    library.start()
    pointer = ctypes.c_void_p
    device = ggml_function("ggml_backend_dev_by_type", pointer, ctypes.c_int)(_CPU)
    registry = ggml_function("ggml_backend_dev_backend_reg", pointer, pointer)(device) if device else None
    if not registry:
        return []
    find = ggml_function("ggml_backend_reg_get_proc_address", pointer, pointer, ctypes.c_char_p)
    address = find(registry, b"ggml_backend_dev_get_extra_bufts")
    if not address:
        return []
    types = ctypes.CFUNCTYPE(ctypes.POINTER(pointer), pointer)(address)(device)
    name = ggml_function("ggml_backend_buft_name", ctypes.c_char_p, pointer)
    names: list[str] = []
    while types and types[len(names)]:
        names.append(name(types[len(names)]).decode(errors="replace"))
    return names
