"""What the model families have in common: blocks of attention and a gated feed-forward part."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from edge_wsd.errors import ConversionError

from ..checkpoint.config import Config
from .base import Arrange, Weight
from .rope import Rope, read_rope

_MOST_BLOCKS = 4096
_BUFFER = re.compile(r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq|model\.rotary_emb\.inv_freq")
_EMBEDDING, _OUTPUT = "model.embed_tokens.weight", "lm_head.weight"


class Decoder:
    """A decoder-only model with RMS norms and rotary positions. A family overrides what it does differently.

    `defaults` are the values of transformers' config class for keys that published configs leave out; `activation`
    is the key and the value of the only activation that llama.cpp computes for the family; `rope_kinds` the
    scalings of positions that it computes.
    """

    architecture: ClassVar[str]
    defaults: ClassVar[Mapping[str, Any]] = {}
    activation: ClassVar[tuple[str, str]] = ("hidden_act", "silu")
    rope_kinds: ClassVar[tuple[str, ...]] = ("default", "linear", "yarn")
    qkv_bias = False
    output_bias = False
    mlp_bias = False

    def __init__(self, config: Config) -> None:
        config = config.filled_with(self.defaults)
        self.config = config
        self._require_activation()
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
        self.rope = self.read_rope(config)
        if self.n_head % self.n_head_kv:
            raise ConversionError(
                f"{config.origin}: num_attention_heads is {self.n_head}, expected a multiple of "
                f"num_key_value_heads {self.n_head_kv}"
            )
        if self.head_dim % 2:
            raise ConversionError(f"{config.origin}: head_dim is {self.head_dim}, expected an even number")

    def read_rope(self, config: Config) -> Rope:
        return read_rope(config, self.rope_kinds, self.n_ctx)

    def weights(self) -> Iterable[Weight]:
        yield Weight(_EMBEDDING, (self.n_vocab, self.n_embd))
        for block in range(self.n_blocks):
            yield from self.block(f"model.layers.{block}.")
        yield self.norm("model.norm", self.n_embd)
        if not self.tied:
            yield Weight(_OUTPUT, (self.n_vocab, self.n_embd))

    def block(self, prefix: str) -> Iterator[Weight]:
        yield self.norm(prefix + "input_layernorm", self.n_embd)
        yield from self.attention(prefix + "self_attn.")
        yield self.norm(prefix + "post_attention_layernorm", self.n_embd)
        yield from self.feed_forward(prefix + "mlp.")

    def attention(self, prefix: str) -> Iterator[Weight]:
        q_rows, kv_rows = self.n_head * self.head_dim, self.n_head_kv * self.head_dim
        pairs_q, pairs_k = self.arrange_heads(self.n_head), self.arrange_heads(self.n_head_kv)
        yield from linear(prefix + "q_proj", q_rows, self.n_embd, self.qkv_bias, pairs_q)
        yield from linear(prefix + "k_proj", kv_rows, self.n_embd, self.qkv_bias, pairs_k)
        yield from linear(prefix + "v_proj", kv_rows, self.n_embd, self.qkv_bias)
        yield from linear(prefix + "o_proj", self.n_embd, q_rows, self.output_bias)

    def feed_forward(self, prefix: str) -> Iterator[Weight]:
        yield from linear(prefix + "gate_proj", self.n_ff, self.n_embd, self.mlp_bias)
        yield from linear(prefix + "up_proj", self.n_ff, self.n_embd, self.mlp_bias)
        yield from linear(prefix + "down_proj", self.n_embd, self.n_ff, self.mlp_bias)

    def norm(self, name: str, size: int) -> Weight:
        return Weight(name + ".weight", (size,))

    def arrange_heads(self, n_head: int) -> Arrange | None:
        """Where llama.cpp wants the rows of `n_head` rotated heads; None: as transformers has them."""
        return None

    def made_here(self) -> Mapping[str, npt.NDArray[np.float32]]:
        return {}

    def known_as(self, name: str) -> str:
        return name

    def is_ignored(self, name: str) -> bool:
        return _BUFFER.fullmatch(name) is not None

    def is_left_out(self, name: str) -> bool:
        return False

    def copies(self) -> Mapping[str, str]:
        return {_OUTPUT: _EMBEDDING} if self.tied else {}

    def can_separate(self, copy: str) -> bool:
        return True

    def notes(self) -> Sequence[str]:
        return ()

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
        writer.add_rope_dimension_count(int(self.head_dim * self.rope.rotated))
        self.rope.describe(writer)

    def require(self, key: str, wanted: Any, reason: str) -> None:
        """Raises ConversionError unless `key`, where it is set at all, has the value `wanted`."""
        value = self.config.get(key)
        if value is not None and value != wanted:
            raise ConversionError(f"{self.config.origin}: {key} is {value!r:.80}: {reason}")

    def require_usual_head_dim(self) -> None:
        """For families whose heads together are as wide as the model in llama.cpp."""
        if self.head_dim * self.n_head != self.n_embd:
            raise ConversionError(
                f"{self.config.origin}: {self.n_head} heads of head_dim {self.head_dim} do not make hidden_size "
                f"{self.n_embd}, as llama.cpp's {self.architecture} needs"
            )

    def _require_activation(self) -> None:
        key, wanted = self.activation
        given = self.config.word(key, wanted)
        if _SAME_ACTIVATION.get(given, given) != wanted:
            raise ConversionError(
                f"{self.config.origin}: {key} is {self.config.get(key)!r}, llama.cpp's {self.architecture} has {wanted}"
            )


_SAME_ACTIVATION = {"swish": "silu"}  # by another name, as in transformers


def linear(
    name: str,
    rows: int,
    columns: int,
    bias: bool = False,
    arrange: Arrange | None = None,
    compute: Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]] | None = None,
) -> Iterator[Weight]:
    """The matrix of a linear layer and, with `bias`, its vector; both are arranged and computed with alike."""
    yield Weight(name + ".weight", (rows, columns), arrange, compute)
    if bias:
        yield Weight(name + ".bias", (rows,), arrange, compute)
