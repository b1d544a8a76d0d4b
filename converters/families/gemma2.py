"""Gemma 2: Gemma2ForCausalLM."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar

from edge_wsd.errors import ConversionError

from ..checkpoint.config import Config
from .base import Weight
from .gemma import Gemma, times


class Gemma2(Gemma):
    """What differs for Gemma 2: attention and logits are capped softly, every other layer has a window."""

    architecture = "gemma2"
    defaults: ClassVar[Mapping[str, Any]] = {
        "max_position_embeddings": 8192, "tie_word_embeddings": True, "query_pre_attn_scalar": 256,
        "sliding_window": 4096, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0, "head_dim": 256,
    }  # fmt: skip
    pattern = 2
    layers_of_27b = 46

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.require("tie_word_embeddings", True, "llama.cpp's gemma2 has no output apart from the embedding")
        self.attention_cap = self._cap("attn_logit_softcapping")
        self.final_cap = self._cap("final_logit_softcapping")

    def attention(self, prefix: str) -> Iterator[Weight]:
        factor = times(self.query_factor())
        for weight in super().attention(prefix):
            yield replace(weight, compute=factor) if weight.name.endswith("q_proj.weight") else weight

    def can_separate(self, copy: str) -> bool:
        return False

    def describe(self, writer: Any) -> None:
        super().describe(writer)
        writer.add_attn_logit_softcapping(self.attention_cap)
        writer.add_final_logit_softcapping(self.final_cap)

    def _cap(self, key: str) -> float:
        if self.config.get(key) is None:
            raise ConversionError(f"{self.config.origin}: {key} is null, but llama.cpp's gemma2 always caps")
        return self.config.number(key)
