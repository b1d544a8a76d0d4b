"""What decides the memory of a model: its dimensions and the sizes of its tensors, never their values.

>>> shape = shape_of_file("base.gguf")
>>> shape.n_layers, shape.weights_bytes
(32, 4912898304)
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path

from edge_wsd.models.gguf_check import n_parts, part_paths
from edge_wsd.models.gguf_fields import Fields
from edge_wsd.models.gguf_file import GgufHeader, read_header
from edge_wsd.models.gguf_types import TENSOR_TYPES, ValueType

EMBEDDING = "token_embd.weight"
OUTPUT = "output.weight"
TYPE_BY_NAME = {kind.name: kind for kind in TENSOR_TYPES.values()}
_LAYER = re.compile(r"blk\.(\d+)\.")


@dataclass(frozen=True, slots=True)
class Weight:
    """One tensor of a model. `shape` begins with the row length; `type` is a name such as `Q4_K`."""

    name: str
    shape: tuple[int, ...]
    type: str

    @property
    def n_elements(self) -> int:
        return prod(self.shape)

    @property
    def n_bytes(self) -> int:
        kind = TYPE_BY_NAME[self.type]
        return self.n_elements // kind.block * kind.block_bytes

    @property
    def layer(self) -> int | None:
        """Number of the repeating layer that it belongs to; None for those before and behind them."""
        found = _LAYER.match(self.name)
        return None if found is None else int(found[1])


@dataclass(frozen=True)
class ModelShape:
    """Dimensions of a model and its tensors. Lengths count elements, sizes count bytes."""

    name: str
    architecture: str
    n_ctx_train: int
    n_embd: int
    n_layers: int
    n_ff: int
    """Width of the feed-forward block; of a mixture of experts, that of all experts a token uses."""
    n_heads: tuple[int, ...]
    """Attention heads of each layer; `n_heads_kv` those of the KV cache, 0 for a layer that has none."""
    n_heads_kv: tuple[int, ...]
    key_length: int
    value_length: int
    """Elements of one head in the KV cache; 0 if the cache holds keys alone (latent attention)."""
    n_vocab: int
    n_merges: int
    sliding_window: int
    """Tokens of the window of some layers; 0 if all layers see everything."""
    weights: tuple[Weight, ...]
    path: Path | None = None
    """Its file; None for a model that is not there yet."""

    @cached_property
    def weights_bytes(self) -> int:
        """Of all tensors."""
        return sum(weight.n_bytes for weight in self.weights)

    @cached_property
    def n_params(self) -> int:
        return sum(weight.n_elements for weight in self.weights)

    @cached_property
    def is_tied(self) -> bool:
        """Whether the input embedding is the output matrix as well."""
        return all(weight.name != OUTPUT for weight in self.weights)

    @cached_property
    def layers(self) -> tuple[tuple[Weight, ...], ...]:
        """Tensors of each repeating layer."""
        found: list[list[Weight]] = [[] for _ in range(self.n_layers)]
        for weight in self.weights:
            if weight.layer is not None and weight.layer < self.n_layers:
                found[weight.layer].append(weight)
        return tuple(map(tuple, found))

    @cached_property
    def layer_bytes(self) -> tuple[int, ...]:
        """Of the tensors of each repeating layer."""
        return tuple(sum(weight.n_bytes for weight in layer) for layer in self.layers)

    @cached_property
    def largest_in_layer(self) -> tuple[int, ...]:
        """Bytes of the largest tensor of each repeating layer."""
        return tuple(max((weight.n_bytes for weight in layer), default=0) for layer in self.layers)

    @cached_property
    def input_weights(self) -> tuple[Weight, ...]:
        """Tensors that stay on the host, whatever is on a GPU."""
        return tuple(weight for weight in self.weights if weight.name.startswith("token_"))

    @cached_property
    def output_weights(self) -> tuple[Weight, ...]:
        """Tensors behind the last layer. Of a tied model the embedding, which has a second task there."""
        behind = [weight for weight in self.weights if weight.layer is None and not weight.name.startswith("token_")]
        if self.is_tied:
            behind += [weight for weight in self.weights if weight.name == EMBEDDING]
        return tuple(behind)


def shape_of_file(path: str | Path, header: GgufHeader | None = None) -> ModelShape:
    """Shape of the GGUF model at `path`, of all its parts. `header` (of the first part) spares reading it again.

    Raises `ModelFileError`. Check the file first (`gguf_check`): what is missing there counts as absent here.
    """
    path = Path(path)
    header = read_header(path) if header is None else header
    tensors = list(header.tensors)
    for part in part_paths(path, n_parts(header))[1:]:
        tensors += read_header(part).tensors
    weights = tuple(Weight(tensor.name, tensor.shape, tensor.type_name) for tensor in tensors)
    return _shape(Fields(path, header), weights)


def _shape(fields: Fields, weights: tuple[Weight, ...]) -> ModelShape:
    architecture = str(fields.scalar("general.architecture", ValueType.STRING))
    prefix = architecture + "."

    def number(key: str) -> int:
        return int(fields.scalar(prefix + key, ValueType.UINT32) or 0)

    n_layers, n_embd = number("block_count"), number("embedding_length")
    heads = fields.per_layer(prefix + "attention.head_count", n_layers) or (0,) * n_layers
    heads_kv = fields.per_layer(prefix + "attention.head_count_kv", n_layers) or heads
    head_size = n_embd // max(*heads, 1)
    tokens = fields.array("tokenizer.ggml.tokens", ValueType.STRING) or ()
    embedding = next((weight for weight in weights if weight.name == EMBEDDING), None)
    latent = prefix + "attention.key_length_mla" in fields
    return ModelShape(
        name=fields.path.name,
        architecture=architecture,
        n_ctx_train=number("context_length"),
        n_embd=n_embd,
        n_layers=n_layers,
        n_ff=_feed_forward(fields, prefix, n_layers, number("expert_feed_forward_length")),
        n_heads=tuple(heads),
        n_heads_kv=tuple(heads_kv),
        key_length=number("attention.key_length") or head_size,
        value_length=0 if latent else number("attention.value_length") or head_size,
        n_vocab=len(tokens) if embedding is None else embedding.shape[-1],
        n_merges=len(fields.array("tokenizer.ggml.merges", ValueType.STRING) or ()),
        sliding_window=_window(fields, prefix),
        weights=weights,
        path=fields.path,
    )


def _feed_forward(fields: Fields, prefix: str, n_layers: int, n_ff_expert: int) -> int:
    n_ff = max(fields.per_layer(prefix + "feed_forward_length", n_layers) or (0,))
    used = max(fields.per_layer(prefix + "expert_used_count", n_layers) or (0,))
    return max(n_ff, used * (n_ff_expert or n_ff))


def _window(fields: Fields, prefix: str) -> int:
    key = prefix + "attention.sliding_window"
    return 0 if key in fields.header.arrays else int(fields.scalar(key, ValueType.UINT32) or 0)
