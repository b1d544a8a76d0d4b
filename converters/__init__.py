"""Hugging Face checkpoints to GGUF: `convert(source, target, type="Q8_0")`.

Each model family is one file that states only what differs; everything else is shared. Weights are read
without torch and streamed one tensor at a time. No code of a checkpoint is ever executed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge_wsd.models.gguf.file_types import SUPPORTED_TYPES

    from .conversion import convert
    from .families.base import Conversion
    from .quantization.calibration import collect_imatrix
    from .quantization.imatrix import Imatrix, read_imatrix, write_imatrix
    from .quantization.quantize import Quantization, quantize
    from .verification.quant_comparison import compare_quants
    from .verification.verify import Verification, verify

_HOMES = {
    "convert": ".conversion",
    "quantize": ".quantization.quantize",
    "SUPPORTED_TYPES": "edge_wsd.models.gguf.file_types",
    "Conversion": ".families.base",
    "verify": ".verification.verify",
    "Verification": ".verification.verify",
    "compare_quants": ".verification.quant_comparison",
    "Quantization": ".quantization.quantize",
    "collect_imatrix": ".quantization.calibration",
    "Imatrix": ".quantization.imatrix",
    "read_imatrix": ".quantization.imatrix",
    "write_imatrix": ".quantization.imatrix",
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
