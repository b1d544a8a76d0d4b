"""Llama: LlamaForCausalLM, versions 2 to 3.2 and everything that uses the same class."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt

from edge_wsd.errors import ConversionError

from .base import Arrange, Weight
from .config import Config
from .rope import llama3_factors, read_rope

_MOST_BLOCKS = 4096
_BUFFER = re.compile(r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq")


class Llama:
    """What differs for Llama: rotary pairs lie interleaved in GGUF, and Llama 3's scaling is a tensor."""

    architecture = "llama"

    def __init__(self, config: Config) -> None:
        if config.word("hidden_act", "silu") != "silu":
            raise ConversionError(f"config.json: hidden_act is {config.get('hidden_act')!r}, Llama has silu")
        self.n_vocab = config.integer("vocab_size")
        self.n_blocks = config.integer("num_hidden_layers", largest=_MOST_BLOCKS)
        self.n_embd = config.integer("hidden_size")
        self.n_ff = config.integer("intermediate_size")
        self.n_head = config.integer("num_attention_heads")
        self.n_head_kv = config.integer("num_key_value_heads", self.n_head)
        self.head_dim = config.integer("head_dim", self.n_embd // self.n_head or 1)
        self.n_ctx = config.integer("max_position_embeddings", 2048)
        self.epsilon = config.number("rms_norm_eps", 1e-6)
        self.tied = config.flag("tie_word_embeddings", False)
        self.attention_bias = config.flag("attention_bias", False)
        self.mlp_bias = config.flag("mlp_bias", False)
        self.rope = read_rope(config)
        if self.n_head % self.n_head_kv:
            raise ConversionError(
                f"config.json: num_attention_heads is {self.n_head}, expected a multiple of "
                f"num_key_value_heads {self.n_head_kv}"
            )
        if self.head_dim % 2:
            raise ConversionError(f"config.json: head_dim is {self.head_dim}, expected an even number")

    def weights(self) -> Iterable[Weight]:
        yield Weight("model.embed_tokens.weight", (self.n_vocab, self.n_embd))
        for block in range(self.n_blocks):
            yield from self._block(f"model.layers.{block}.")
        yield Weight("model.norm.weight", (self.n_embd,))
        if not self.tied:
            yield Weight("lm_head.weight", (self.n_vocab, self.n_embd))

    def _block(self, prefix: str) -> Iterator[Weight]:
        q_rows, kv_rows = self.n_head * self.head_dim, self.n_head_kv * self.head_dim
        attention = prefix + "self_attn."
        pairs_q, pairs_k = interleaved_pairs(self.n_head), interleaved_pairs(self.n_head_kv)
        yield Weight(prefix + "input_layernorm.weight", (self.n_embd,))
        yield from _linear(attention + "q_proj", q_rows, self.n_embd, self.attention_bias, pairs_q)
        yield from _linear(attention + "k_proj", kv_rows, self.n_embd, self.attention_bias, pairs_k)
        yield from _linear(attention + "v_proj", kv_rows, self.n_embd, self.attention_bias)
        yield from _linear(attention + "o_proj", self.n_embd, q_rows, self.attention_bias)
        yield Weight(prefix + "post_attention_layernorm.weight", (self.n_embd,))
        yield from _linear(prefix + "mlp.gate_proj", self.n_ff, self.n_embd, self.mlp_bias)
        yield from _linear(prefix + "mlp.up_proj", self.n_ff, self.n_embd, self.mlp_bias)
        yield from _linear(prefix + "mlp.down_proj", self.n_embd, self.n_ff, self.mlp_bias)

    def made_here(self) -> Mapping[str, npt.NDArray[np.float32]]:
        if self.rope.kind != "llama3":
            return {}
        return {"rope_freqs.weight": llama3_factors(self.rope, self.head_dim, self.n_ctx)}

    def is_ignored(self, name: str) -> bool:
        return _BUFFER.fullmatch(name) is not None

    def copies(self) -> Mapping[str, str]:
        return {"lm_head.weight": "model.embed_tokens.weight"} if self.tied else {}

    def describe(self, writer: Any) -> None:
        writer.add_vocab_size(self.n_vocab)
        writer.add_context_length(self.n_ctx)
        writer.add_embedding_length(self.n_embd)
        writer.add_block_count(self.n_blocks)
        writer.add_feed_forward_length(self.n_ff)
        writer.add_head_count(self.n_head)
        writer.add_head_count_kv(self.n_head_kv)
        writer.add_key_length(self.head_dim)
        writer.add_value_length(self.head_dim)
        writer.add_layer_norm_rms_eps(self.epsilon)
        writer.add_rope_dimension_count(self.head_dim)
        writer.add_rope_freq_base(self.rope.base)
        if self.rope.kind == "linear":
            writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
            writer.add_rope_scaling_factor(self.rope.scaling.number("factor"))


def interleaved_pairs(n_head: int) -> Arrange:
    """Reorders the rows of each head from (all first halves, all second halves) to pairs side by side.

    transformers rotates row i with row i + head_dim/2; llama.cpp's Llama rotates neighbours.
    """

    def arrange(rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
        halves = rows.reshape(n_head, 2, rows.shape[0] // n_head // 2, -1)
        arranged: npt.NDArray[Any] = halves.swapaxes(1, 2).reshape(rows.shape)
        return arranged

    return arrange


def _linear(name: str, rows: int, columns: int, bias: bool, arrange: Arrange | None = None) -> Iterator[Weight]:
    yield Weight(name + ".weight", (rows, columns), arrange)
    if bias:
        yield Weight(name + ".bias", (rows,), arrange)
