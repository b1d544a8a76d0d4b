"""Mistral: MistralForCausalLM, 7B version 0.1 to 0.3, Nemo and others. GGUF has it as a Llama."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ..checkpoint.config import Config
from .decoder import Decoder
from .llama import Llama
from .sliding_window import ignored_window


class Mistral(Llama):
    """What differs for Mistral: a sliding window, which llama.cpp's Llama does not have, and never a bias."""

    defaults: ClassVar[Mapping[str, Any]] = {"sliding_window": 4096, "max_position_embeddings": 131072}
    rope_kinds = ("default", "linear", "yarn")

    def __init__(self, config: Config) -> None:
        Decoder.__init__(self, config)

    def notes(self) -> Sequence[str]:
        if self.config.get("sliding_window") is None:
            return ()
        return ignored_window(self.architecture, self.config.integer("sliding_window"), self.n_ctx)
