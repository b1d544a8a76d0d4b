"""Hugging Face checkpoints to GGUF: `convert(source, target, type="Q8_0")`.

Each model family is one file that states only what differs; everything else is shared. Weights are read
without torch and streamed one tensor at a time. No code of a checkpoint is ever executed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .base import Conversion
    from .quantization import Quantization, quantize
    from .registry import convert
    from .types import SUPPORTED_TYPES

_HOMES = {
    "convert": ".registry",
    "quantize": ".quantization",
    "SUPPORTED_TYPES": ".types",
    "Conversion": ".base",
    "Quantization": ".quantization",
}
__all__ = ["SUPPORTED_TYPES", "Conversion", "Quantization", "convert", "quantize"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name], __name__), name)
