"""Qwen2: Qwen2ForCausalLM, versions 2 and 2.5."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ..checkpoint.config import Config
from .decoder import Decoder
from .sliding_window import ignored_window, sliding_layers


class Qwen(Decoder):
    """What Qwen2 and Qwen3 share: windows that a config may switch on, which llama.cpp does not have."""

    defaults: ClassVar[Mapping[str, Any]] = {
        "max_position_embeddings": 32768, "use_sliding_window": False, "sliding_window": 4096,
        "max_window_layers": 28,
    }  # fmt: skip

    def notes(self) -> Sequence[str]:
        config = self.config
        if not config.flag("use_sliding_window", False) or config.get("sliding_window") is None:
            return ()
        first = config.integer("max_window_layers") if config.get("max_window_layers") else 0
        if not any(sliding_layers(config, self.n_blocks, lambda layer: layer >= first)):
            return ()
        return ignored_window(self.architecture, config.integer("sliding_window"), self.n_ctx)


class Qwen2(Qwen):
    """What differs for Qwen2: queries, keys and values always have a bias."""

    architecture = "qwen2"
    qkv_bias = True

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.require_usual_head_dim()
