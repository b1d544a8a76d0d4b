"""Rotary position embeddings: how checkpoints describe their scaling and how GGUF does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt

from edge_wsd.errors import ConversionError

from ..checkpoint.config import Config

_DEFAULT_BASE = 10_000.0
# What llama.cpp's graphs compute YaRN with; no key of the file changes them.
_YARN_BETAS = {"beta_fast": 32.0, "beta_slow": 1.0}


@dataclass(frozen=True)
class Rope:
    """`base` is theta; `kind` the type of scaling and `scaling` its keys; `original_context` the tokens the model
    was trained with before its context was stretched; `rotated` the share of a head that is rotated."""

    base: float
    kind: str
    scaling: Config
    original_context: int
    rotated: float = 1.0

    def describe(self, writer: Any) -> None:
        """Writes the base and a linear or YaRN scaling; other kinds are tensors."""
        writer.add_rope_freq_base(self.base)
        if self.kind == "linear":
            writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
            writer.add_rope_scaling_factor(self.scaling.number("factor"))
        if self.kind == "yarn":
            factor = self.scaling.number("factor")
            writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
            writer.add_rope_scaling_factor(factor)
            writer.add_rope_scaling_orig_ctx_len(self.original_context)
            # llama.cpp multiplies this with the usual magnitude, which it computes itself.
            magnitude = _yarn_magnitude(self.scaling, factor) / _mscale(factor)
            if magnitude != 1.0:
                writer.add_rope_scaling_attn_factors(magnitude)


def read_rope(
    config: Config, kinds: Sequence[str], n_ctx: int, *, base: float = _DEFAULT_BASE, partial: bool = False
) -> Rope:
    """Reads `rope_parameters` (newer) or `rope_theta` with `rope_scaling` (older).

    `kinds` are those that llama.cpp computes for the family, `base` the theta of a config without one, and
    `partial` allows that less than a whole head is rotated. Raises ConversionError.
    """
    # Where a config has both, transformers goes by the older one.
    sections = (config.section(key) for key in ("rope_scaling", "rope_parameters") if config.get(key))
    scaling = next((section for section in sections if section is not None), None)
    scaling = scaling or Config({}, config.origin)
    kind = scaling.word("rope_type", scaling.word("type", "default"))
    if kind not in kinds:
        raise ConversionError(
            f"{scaling.origin}: rope type {kind!r} is not supported here: llama.cpp computes "
            f"{', '.join(kinds[:-1])} or {kinds[-1]} for this family"
        )
    rotated = scaling.number("partial_rotary_factor", config.number("partial_rotary_factor", 1.0))
    if rotated > 1.0 or (rotated != 1.0 and not partial):
        raise ConversionError(f"{scaling.origin}: partial_rotary_factor is {rotated:g}, expected 1 for this family")
    if kind == "yarn":
        _require_usual_yarn(scaling)
    original = config.integer(
        "original_max_position_embeddings", scaling.integer("original_max_position_embeddings", n_ctx)
    )
    if kind == "yarn" and "factor" in scaling.values and scaling.get("factor") is None:
        scaling = Config({**scaling.values, "factor": n_ctx / original}, scaling.origin)
    return Rope(scaling.number("rope_theta", config.number("rope_theta", base)), kind, scaling, original, rotated)


def _require_usual_yarn(scaling: Config) -> None:
    for key, usual in _YARN_BETAS.items():
        if scaling.number(key, usual) != usual:
            raise ConversionError(f"{scaling.origin}: {key} is {scaling.get(key)}, llama.cpp computes with {usual:g}")
    if not scaling.values.get("truncate", True):  # null counts as false in transformers
        stated = str(scaling.get("truncate")).lower().replace("none", "null")
        raise ConversionError(
            f"{scaling.origin}: truncate is {stated}, llama.cpp always rounds the range that it scales"
        )


def _mscale(factor: float, weight: float = 1.0) -> float:
    return 1.0 if factor <= 1.0 else 0.1 * weight * math.log(factor) + 1.0


def _yarn_magnitude(scaling: Config, factor: float) -> float:
    """The factor that transformers gives the rotated vectors."""
    if scaling.get("attention_factor") is not None:
        return scaling.number("attention_factor")
    if scaling.get("mscale") and scaling.get("mscale_all_dim"):
        return _mscale(factor, scaling.number("mscale")) / _mscale(factor, scaling.number("mscale_all_dim"))
    return _mscale(factor)


def llama3_factors(rope: Rope, head_dim: int) -> npt.NDArray[np.float32]:
    """Divisors of the `head_dim / 2` rotary frequencies of a "llama3" scaling.

    Short wavelengths stay, wavelengths beyond the original context are stretched by `factor`, and those
    between move smoothly from one to the other.
    """
    factor = rope.scaling.number("factor")
    low = rope.scaling.number("low_freq_factor", 1.0)
    high = rope.scaling.number("high_freq_factor", 4.0)
    if not low < high:
        raise ConversionError(f"{rope.scaling.origin}: low_freq_factor {low} must be below high_freq_factor {high}")
    exponents = np.arange(0, head_dim, 2, dtype=np.float64) / head_dim
    wavelengths = 2 * math.pi * rope.base**exponents
    share = np.clip((rope.original_context / wavelengths - low) / (high - low), 0.0, 1.0)
    return (1.0 / ((1.0 - share) / factor + share)).astype(np.float32)
