"""Rotary position embeddings: how checkpoints describe their scaling and how GGUF does."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_wsd.errors import ConversionError

from .config import Config

_DEFAULT_BASE = 10_000.0


@dataclass(frozen=True)
class Rope:
    """`base` is theta; `kind` one of "default", "linear", "llama3"; `scaling` holds the keys of that kind."""

    base: float
    kind: str
    scaling: Config


def read_rope(config: Config) -> Rope:
    """Reads `rope_parameters` (newer) or `rope_theta` with `rope_scaling` (older). Raises ConversionError."""
    scaling = config.section("rope_parameters") or config.section("rope_scaling") or Config({}, config.origin)
    kind = scaling.word("rope_type", scaling.word("type", "default"))
    if kind not in ("default", "linear", "llama3"):
        raise ConversionError(
            f"{scaling.origin}: rope type {kind!r} is not supported; expected default, linear or llama3"
        )
    for place in (config, scaling):
        if place.number("partial_rotary_factor", 1.0) != 1.0:
            raise ConversionError(f"{place.origin}: partial_rotary_factor is not 1, which is not supported")
    base = scaling.number("rope_theta", config.number("rope_theta", _DEFAULT_BASE))
    return Rope(base, kind, scaling)


def llama3_factors(rope: Rope, head_dim: int, context_length: int) -> npt.NDArray[np.float32]:
    """Divisors of the `head_dim / 2` rotary frequencies of a "llama3" scaling.

    Short wavelengths stay, wavelengths beyond the original context are stretched by `factor`, and those
    between move smoothly from one to the other.
    """
    factor = rope.scaling.number("factor")
    low = rope.scaling.number("low_freq_factor", 1.0)
    high = rope.scaling.number("high_freq_factor", 4.0)
    original = rope.scaling.integer("original_max_position_embeddings", context_length)
    if not low < high:
        raise ConversionError(f"{rope.scaling.origin}: low_freq_factor {low} must be below high_freq_factor {high}")
    exponents = np.arange(0, head_dim, 2, dtype=np.float64) / head_dim
    wavelengths = 2 * math.pi * rope.base**exponents
    share = np.clip((original / wavelengths - low) / (high - low), 0.0, 1.0)
    return (1.0 / ((1.0 - share) / factor + share)).astype(np.float32)
