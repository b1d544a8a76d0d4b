"""Which types of weights llama.cpp rearranges for this processor.

Such weights are copied out of the file into memory of their own, also where the file is mapped: they cannot be dropped
and read again as pages of the file can.
"""

from __future__ import annotations

import ctypes
from functools import cache

from edge_wsd.llama.library import ggml_function

_BY_FEATURE = {
    "avx2": ("Q4_0", "Q4_K", "IQ4_NL", "MXFP4"),
    "avx512": ("Q2_K",),
    "dotprod": ("Q4_0", "Q4_K", "Q5_K", "Q6_K", "Q8_0", "IQ4_NL", "MXFP4"),
}


@cache
def repacked_types() -> frozenset[str]:
    """Names of the tensor types; empty where llama.cpp was built without saying what its processor can do."""
    found: set[str] = set()
    for feature, types in _BY_FEATURE.items():
        try:
            has = ggml_function(f"ggml_cpu_has_{feature}", ctypes.c_int)
        except AttributeError:  # backends are loaded apart in this build
            continue
        if has():
            found.update(types)
    return frozenset(found)
