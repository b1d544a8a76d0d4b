"""Qwen3: Qwen3ForCausalLM, the dense models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from ..checkpoint.config import Config
from .base import Weight
from .qwen2 import Qwen


class Qwen3(Qwen):
    """What differs for Qwen3: each head's query and key are normalized before they are rotated."""

    architecture = "qwen3"
    defaults: ClassVar[Mapping[str, Any]] = {**Qwen.defaults, "head_dim": 128}

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.require("attention_bias", False, "llama.cpp's qwen3 has no bias of the attention's output")

    def attention(self, prefix: str) -> Iterator[Weight]:
        yield from super().attention(prefix)
        yield self.norm(prefix + "q_norm", self.head_dim)
        yield self.norm(prefix + "k_norm", self.head_dim)
