"""Gemma 3: Gemma3ForCausalLM, and the language model of Gemma3ForConditionalGeneration."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from edge_wsd.errors import ConversionError

from ..checkpoint.config import Config
from .base import Compute, Weight
from .gemma import Gemma
from .rope import Rope, read_rope

# The published names and those of newer versions of transformers.
_LANGUAGE_MODEL = re.compile(r"(?:language_model\.|model\.language_model\.)(?:model\.)?(?!lm_head)")
_HEAD = "language_model.lm_head."
_VISION = re.compile(r"(?:model\.)?(?:vision_tower|multi_modal_projector)\.")


class Gemma3(Gemma):
    """What differs for Gemma 3: normalized queries and keys, and another theta in the layers with a window."""

    architecture = "gemma3"
    # The configs of the models that see leave out nearly everything.
    defaults: ClassVar[Mapping[str, Any]] = {
        "vocab_size": 262208, "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26,
        "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "max_position_embeddings": 131072,
        "tie_word_embeddings": True, "query_pre_attn_scalar": 256, "sliding_window": 4096,
    }  # fmt: skip
    pattern = 6
    layers_of_27b = 62

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        if self.config.get("attn_logit_softcapping") is not None:
            raise ConversionError(
                f"{self.config.origin}: attn_logit_softcapping is set, but llama.cpp's gemma3 does not cap attention"
            )
        self.local_rope = self._read_local_rope()

    def read_rope(self, config: Config) -> Rope:
        """Of the layers without a window. Newer configs have one section for each kind of layer."""
        nested = config.section("rope_parameters")
        if nested is not None and _is_nested(nested):
            values = {**_values(nested, "full_attention"), **_values(config, "rope_scaling")}
            config = Config({**config.values, "rope_scaling": None, "rope_parameters": values}, config.origin)
        return read_rope(config, self.rope_kinds, self.n_ctx, base=1_000_000.0)

    def _read_local_rope(self) -> Rope:
        nested = self.config.section("rope_parameters")
        values = nested.get("sliding_attention") if nested is not None and _is_nested(nested) else None
        local = Config({"rope_parameters": values}, f"{self.config.origin}: sliding_attention")
        return read_rope(local, ("default",), self.n_ctx, base=self.config.number("rope_local_base_freq", 10_000.0))

    def attention(self, prefix: str) -> Iterator[Weight]:
        yield from super().attention(prefix)
        # The scale of queries fits behind their norm, as turning them keeps it.
        yield replace(self.norm(prefix + "q_norm", self.head_dim), compute=_plus_one_times(self.query_factor()))
        yield self.norm(prefix + "k_norm", self.head_dim)

    def describe(self, writer: Any) -> None:
        super().describe(writer)
        if self.window is not None:
            writer.add_float32(f"{self.architecture}.rope.freq_base_swa", self.local_rope.base)
        if self.config.get("final_logit_softcapping") is not None:
            writer.add_final_logit_softcapping(self.config.number("final_logit_softcapping"))


class Gemma3WithVision(Gemma3):
    """What differs for the models that see: the language model is one part of several, and the only one converted."""

    def __init__(self, config: Config) -> None:
        text = config.section("text_config")
        if text is None:
            raise ConversionError(f"{config.origin} has no text_config; expected the sections of a vision model")
        super().__init__(text)

    def known_as(self, name: str) -> str:
        if name.startswith(_HEAD):
            return name.removeprefix("language_model.")
        return _LANGUAGE_MODEL.sub("model.", name, count=1) if _LANGUAGE_MODEL.match(name) else name

    def is_left_out(self, name: str) -> bool:
        return _VISION.match(name) is not None


def _values(config: Config, key: str) -> Mapping[str, Any]:
    section = config.section(key)
    return {} if section is None else section.values


def _is_nested(section: Config) -> bool:
    return "full_attention" in section.values or "sliding_attention" in section.values


def _plus_one_times(factor: float) -> Compute:
    def compute(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        scaled: npt.NDArray[np.float32] = (values + np.float32(1.0)) * np.float32(factor)
        return scaled

    return compute
