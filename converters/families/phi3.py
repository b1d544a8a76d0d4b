"""Phi-3: Phi3ForCausalLM, mini and medium with 4k and 128k context, and later models of the same class."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import gguf
import numpy as np
import numpy.typing as npt

from edge_wsd.errors import ConversionError

from ..checkpoint.config import Config
from .base import Weight
from .decoder import Decoder, linear
from .rope import Rope, read_rope
from .sliding_window import ignored_window

_OLD_NAMES = {"su": "longrope", "yarn": "longrope"}


class Phi3(Decoder):
    """What differs for Phi-3: fused matrices, and two sets of divisors of the rotary frequencies ("longrope")."""

    architecture = "phi3"
    defaults: ClassVar[Mapping[str, Any]] = {
        "max_position_embeddings": 4096,
        "original_max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
    }
    rope_kinds = ("default", "longrope")

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.require_usual_head_dim()
        self.window = self.config.integer("sliding_window") if self.config.get("sliding_window") is not None else 0

    def read_rope(self, config: Config) -> Rope:
        """The scaling under its present name; it has been published as "su" and as "yarn" too."""
        for key in ("rope_parameters", "rope_scaling"):
            section = config.section(key)
            if section is not None:
                kind = section.word("rope_type", section.word("type", "default"))
                values = {**section.values, "rope_type": _OLD_NAMES.get(kind, kind)}
                config = Config({**config.values, key: values}, config.origin)
        return read_rope(config, self.rope_kinds, self.n_ctx, partial=True)

    def attention(self, prefix: str) -> Iterator[Weight]:
        q_rows, kv_rows = self.n_head * self.head_dim, self.n_head_kv * self.head_dim
        yield from linear(prefix + "qkv_proj", q_rows + 2 * kv_rows, self.n_embd)
        yield from linear(prefix + "o_proj", self.n_embd, q_rows)

    def feed_forward(self, prefix: str) -> Iterator[Weight]:
        yield from linear(prefix + "gate_up_proj", 2 * self.n_ff, self.n_embd)
        yield from linear(prefix + "down_proj", self.n_embd, self.n_ff)

    def made_here(self) -> Mapping[str, npt.NDArray[np.float32]]:
        if self.rope.kind != "longrope":
            return {}
        return {f"rope_factors_{name}.weight": self._divisors(f"{name}_factor") for name in ("long", "short")}

    def notes(self) -> Sequence[str]:
        notes = ignored_window(self.architecture, self.window, self.n_ctx) if self.window else ()
        original = self.rope.original_context
        if self.rope.kind != "longrope" or original >= self.n_ctx:
            return notes
        return (
            *notes,
            f"with a context of more than {original} tokens llama.cpp uses the factors for long texts for short ones "
            f"too; for texts within {original} tokens a context of that length is exact",
        )

    def describe(self, writer: Any) -> None:
        super().describe(writer)
        writer.add_rope_scaling_orig_ctx_len(self.rope.original_context)
        writer.add_sliding_window(self.window)
        if self.rope.kind == "longrope":
            writer.add_rope_scaling_type(gguf.RopeScalingType.LONGROPE)
            writer.add_rope_scaling_attn_factors(self._magnitude())

    def _magnitude(self) -> float:
        """The factor of the rotated vectors, which makes up for the longer context."""
        scaling, original = self.rope.scaling, self.rope.original_context
        if scaling.get("attention_factor") is not None:
            return scaling.number("attention_factor")
        factor = scaling.number("factor", self.n_ctx / original)
        return math.sqrt(1 + math.log(factor) / math.log(original)) if factor > 1 else 1.0

    def _divisors(self, key: str) -> npt.NDArray[np.float32]:
        scaling = self.rope.scaling
        listed, expected = scaling.get(key), int(self.head_dim * self.rope.rotated) // 2
        if not isinstance(listed, list) or len(listed) != expected or not all(map(_is_divisor, listed)):
            raise ConversionError(f"{scaling.origin}: {key} is {listed!r:.80}, expected {expected} numbers above 0")
        return np.array(listed, np.float32)


def _is_divisor(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < math.inf
