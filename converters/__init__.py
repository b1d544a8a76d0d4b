"""Hugging Face checkpoints to GGUF: `convert(source, target, type="Q8_0")`.

Each model family is one file that states only what differs; everything else is shared. Weights are read
without torch and streamed one tensor at a time. No code of a checkpoint is ever executed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .base import Conversion
    from .calibration import collect_imatrix
    from .imatrix import Imatrix, read_imatrix, write_imatrix
    from .quant_comparison import compare_quants
    from .quantization import Quantization, quantize
    from .registry import convert
    from .types import SUPPORTED_TYPES
    from .verification import Verification, verify

_HOMES = {
    "convert": ".registry",
    "quantize": ".quantization",
    "SUPPORTED_TYPES": ".types",
    "Conversion": ".base",
    "verify": ".verification",
    "Verification": ".verification",
    "compare_quants": ".quant_comparison",
    "Quantization": ".quantization",
    "collect_imatrix": ".calibration",
    "Imatrix": ".imatrix",
    "read_imatrix": ".imatrix",
    "write_imatrix": ".imatrix",
}
__all__ = [
    "SUPPORTED_TYPES",
    "Conversion",
    "Imatrix",
    "Quantization",
    "Verification",
    "collect_imatrix",
    "compare_quants",
    "convert",
    "quantize",
    "read_imatrix",
    "verify",
    "write_imatrix",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name], __name__), name)
