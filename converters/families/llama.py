"""Llama: LlamaForCausalLM, versions 2 to 3.2 and everything that uses the same class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ..checkpoint.config import Config
from .base import Arrange
from .decoder import Decoder
from .rope import llama3_factors


class Llama(Decoder):
    """What differs for Llama: rotary pairs lie interleaved in GGUF, and Llama 3's scaling is a tensor."""

    architecture = "llama"
    rope_kinds: ClassVar[tuple[str, ...]] = ("default", "linear", "llama3", "yarn")

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.qkv_bias = self.output_bias = config.flag("attention_bias", False)
        self.mlp_bias = config.flag("mlp_bias", False)

    def arrange_heads(self, n_head: int) -> Arrange:
        return interleaved_pairs(n_head)

    def made_here(self) -> Mapping[str, npt.NDArray[np.float32]]:
        if self.rope.kind != "llama3":
            return {}
        return {"rope_freqs.weight": llama3_factors(self.rope, self.head_dim)}


def interleaved_pairs(n_head: int) -> Arrange:
    """Reorders the rows of each head from (all first halves, all second halves) to pairs side by side.

    transformers rotates row i with row i + head_dim/2; llama.cpp's Llama rotates neighbours.
    """

    def arrange(rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
        halves = rows.reshape(n_head, 2, rows.shape[0] // n_head // 2, -1)
        arranged: npt.NDArray[Any] = halves.swapaxes(1, 2).reshape(rows.shape)
        return arranged

    return arrange
