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

from edge_wsd.models.gguf.check import n_parts, part_paths
from edge_wsd.models.gguf.fields import Fields
from edge_wsd.models.gguf.header import GgufHeader, read_header
from edge_wsd.models.gguf.types import TENSOR_TYPES, ValueType

EMBEDDING = "token_embd.weight"
OUTPUT = "output.weight"
TYPE_BY_NAME = {kind.name: kind for kind in TENSOR_TYPES.values()}
_LAYER = re.compile(r"blk\.(\d+)\.")


@dataclass(frozen=True, slots=True)
class WeightShape:
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
    weights: tuple[WeightShape, ...]
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
    def layers(self) -> tuple[tuple[WeightShape, ...], ...]:
        """Tensors of each repeating layer."""
        found: list[list[WeightShape]] = [[] for _ in range(self.n_layers)]
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
    def input_weights(self) -> tuple[WeightShape, ...]:
        """Tensors that stay on the host, whatever is on a GPU."""
        return tuple(weight for weight in self.weights if weight.name.startswith("token_"))

    @cached_property
    def output_weights(self) -> tuple[WeightShape, ...]:
        """Tensors behind the last layer. Of a tied model the embedding, which has a second task there."""
        behind = [weight for weight in self.weights if weight.layer is None and not weight.name.startswith("token_")]
        if self.is_tied:
            behind += [weight for weight in self.weights if weight.name == EMBEDDING]
        return tuple(behind)


def shape_of_file(path: str | Path, header: GgufHeader | None = None) -> ModelShape:
    """Shape of the GGUF model at `path`, of all its parts. `header` (of the first part) spares reading it again.

    Raises `ModelFileError`. Check the file first (`check_gguf`): what is missing there counts as absent here.
    """
    path = Path(path)
    header = read_header(path) if header is None else header
    tensors = list(header.tensors)
    for part in part_paths(path, n_parts(header))[1:]:
        tensors += read_header(part).tensors
    weights = tuple(WeightShape(tensor.name, tensor.shape, tensor.type_name) for tensor in tensors)
    return _shape(Fields(path, header), weights)


def _shape(fields: Fields, weights: tuple[WeightShape, ...]) -> ModelShape:
    architecture = str(fields.scalar("general.architecture", ValueType.STRING))
    numbers = _Numbers(fields.header, architecture + ".")
    n_layers, n_embd = numbers.scalar("block_count"), numbers.scalar("embedding_length")
    heads = numbers.per_layer("attention.head_count", n_layers)
    heads_kv = numbers.per_layer("attention.head_count_kv", n_layers) if "attention.head_count_kv" in numbers else heads
    head_size = n_embd // max(*heads, 1)
    n_ff = max(numbers.per_layer("feed_forward_length", n_layers), default=0)
    n_used = max(numbers.per_layer("expert_used_count", n_layers), default=0)
    embedding = next((weight for weight in weights if weight.name == EMBEDDING), None)
    n_tokens, n_merges = (numbers.length(f"tokenizer.ggml.{key}") for key in ("tokens", "merges"))
    is_latent = "attention.key_length_mla" in numbers
    return ModelShape(
        name=fields.path.name,
        architecture=architecture,
        n_ctx_train=numbers.scalar("context_length"),
        n_embd=n_embd,
        n_layers=n_layers,
        n_ff=max(n_ff, n_used * (numbers.scalar("expert_feed_forward_length") or n_ff)),
        n_heads=heads,
        n_heads_kv=heads_kv,
        key_length=numbers.scalar("attention.key_length") or head_size,
        value_length=0 if is_latent else numbers.scalar("attention.value_length") or head_size,
        n_vocab=n_tokens if embedding is None else embedding.shape[-1],
        n_merges=n_merges,
        sliding_window=numbers.scalar("attention.sliding_window"),
        weights=weights,
        path=fields.path,
    )


@dataclass(frozen=True, slots=True)
class _Numbers:
    """Hyperparameters of one architecture. What is missing or of another kind counts as 0: a plan refuses no file."""

    header: GgufHeader
    prefix: str

    def __contains__(self, key: str) -> bool:
        return self.prefix + key in self.header.metadata

    def scalar(self, key: str) -> int:
        value = self.header.metadata.get(self.prefix + key)
        return value if isinstance(value, int) and value > 0 else 0

    def length(self, key: str) -> int:
        """Elements of the array with the whole name `key`."""
        return len(self.header.metadata[key]) if key in self.header.arrays else 0

    def per_layer(self, key: str, n_layers: int) -> tuple[int, ...]:
        """A number given once for all layers, or once for each."""
        if self.prefix + key not in self.header.arrays:
            return (self.scalar(key),) * n_layers
        values = [
            value if isinstance(value, int) and value > 0 else 0 for value in self.header.metadata[self.prefix + key]
        ]
        return tuple([*values, *[0] * n_layers][:n_layers])
