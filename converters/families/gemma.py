"""What Gemma 2 and Gemma 3 share."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ..checkpoint.config import Config
from .base import Compute, Weight
from .decoder import Decoder
from .sliding_window import sliding_layers


class Gemma(Decoder):
    """What differs for Gemma: norms count from one, a block has two more of them, and most layers have a window.

    Every `pattern`-th layer has none, where the config does not list them. llama.cpp takes a model of
    `layers_of_27b` layers for the 27B one, whose queries it scales by another rule.
    """

    activation = ("hidden_activation", "gelu_pytorch_tanh")
    rope_kinds = ("default", "linear")
    pattern: ClassVar[int]
    layers_of_27b: ClassVar[int]

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.require("attention_bias", False, f"llama.cpp's {self.architecture} has no bias of the attention's output")
        self.require("use_bidirectional_attention", False, "llama.cpp looks back only")
        stated = self.config.integer("sliding_window_pattern", self.pattern)
        self.sliding = sliding_layers(self.config, self.n_blocks, lambda layer: (layer + 1) % stated != 0)
        self.window = self.config.integer("sliding_window") if any(self.sliding) else None

    def block(self, prefix: str) -> Iterator[Weight]:
        yield self.norm(prefix + "input_layernorm", self.n_embd)
        yield from self.attention(prefix + "self_attn.")
        yield self.norm(prefix + "post_attention_layernorm", self.n_embd)
        yield self.norm(prefix + "pre_feedforward_layernorm", self.n_embd)
        yield from self.feed_forward(prefix + "mlp.")
        yield self.norm(prefix + "post_feedforward_layernorm", self.n_embd)

    def norm(self, name: str, size: int) -> Weight:
        return Weight(name + ".weight", (size,), compute=_plus_one)

    def query_factor(self) -> float:
        """What queries must be multiplied with, so that they end up scaled as the config says.

        llama.cpp does not read `query_pre_attn_scalar` but knows it of the published models.
        """
        is_27b = self.n_blocks == self.layers_of_27b
        assumed = self.n_embd // self.n_head if is_27b else self.head_dim
        wanted = self.config.number("query_pre_attn_scalar", 256.0)
        return math.sqrt(assumed / wanted)

    def describe(self, writer: Any) -> None:
        super().describe(writer)
        if self.window is not None:
            writer.add_sliding_window(self.window)
        if self.sliding != [(layer + 1) % self.pattern != 0 for layer in range(self.n_blocks)]:
            writer.add_sliding_window_pattern(self.sliding)


def times(factor: float) -> Compute | None:
    """Multiplies values with `factor`; None where that changes nothing."""
    return None if factor == 1.0 else lambda values: values * np.float32(factor)


def _plus_one(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    moved: npt.NDArray[np.float32] = values + np.float32(1.0)
    return moved
