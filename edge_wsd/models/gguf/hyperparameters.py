"""Whether the hyperparameters inside a GGUF are sane and agree with the shapes of its tensors.

Counts that llama.cpp asserts on and types that it cannot compute with are checked for every architecture; shapes only
for those that are built like Llama, whose tensors are known here. For the rest llama.cpp compares them itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isfinite

from edge_wsd.models.gguf.fields import Fields
from edge_wsd.models.gguf.header import GgufHeader, TensorInfo
from edge_wsd.models.gguf.types import TENSOR_TYPES, ValueType

LLAMA_LIKE = frozenset({"llama", "mistral3", "qwen2", "qwen3", "gemma", "gemma2", "gemma3", "phi3"})
# One matrix for gate and up, and a head that may be rotated in part.
_FUSED = "phi3"
_MAX_LAYERS = 512
_MAX_EXPERTS = 1024
_MAX_WIDTH = 1 << 24
_MAX_CONTEXT = (1 << 31) - 1
_ROPE_SCALINGS = frozenset({"none", "linear", "yarn", "longrope"})
_F32 = 0
_WHOLE_NUMBERS = (26, 27)  # I32, I64
_TABLES = re.compile(r"(^|\.)(d2t|ffn_gate_tid2eid)(\.weight)?$")
"""Names of tensors that hold whole numbers, of tokens or experts; architectures that are not known here have them."""
_ADDED = re.compile(r"(_norm\.weight|\.bias|scale)$")
"""Names of tensors that are added or multiplied element by element, whatever their shape."""
# fmt: off
_KNOWN_KEYS = frozenset((
    "context_length", "embedding_length", "block_count", "feed_forward_length", "vocab_size", "expert_count",
    "expert_used_count", "attention.head_count", "attention.head_count_kv", "attention.key_length",
    "attention.value_length", "attention.layer_norm_rms_epsilon", "attention.sliding_window",
    "attention.temperature_scale", "attn_logit_softcapping", "final_logit_softcapping", "rope.dimension_count",
    "rope.freq_base", "rope.freq_base_swa", "rope.scaling.type", "rope.scaling.factor", "rope.scaling.attn_factor",
    "rope.scaling.original_context_length", "rope.scaling.finetuned", "rope.scaling.yarn_ext_factor",
    "rope.scaling.yarn_attn_factor", "rope.scaling.yarn_beta_fast", "rope.scaling.yarn_beta_slow",
    "rope.scaling.yarn_log_multiplier",
))
# fmt: on
"""Hyperparameters with which every value that passes does no harm; what else llama.cpp reads is tried."""
_LAYER = re.compile(r"blk\.\d+\.")


@dataclass(frozen=True, slots=True)
class _Sizes:
    """Dimensions of a Llama-like model; those that may differ from layer to layer have one element per layer."""

    n_embd: int
    n_layers: int
    n_heads: tuple[int, ...]
    n_heads_kv: tuple[int, ...]
    key_length: int
    value_length: int
    n_rotated: int
    n_ff: tuple[int, ...]
    n_experts: int
    is_fused: bool


def is_checked_whole(header: GgufHeader, *further_parts: GgufHeader) -> bool:
    """Whether `check_model` knows every number and every tensor of this model, so that llama.cpp stumbles over none."""
    architecture = header.metadata.get("general.architecture")
    if architecture not in LLAMA_LIKE or header.metadata.get(f"{architecture}.expert_count"):
        return False
    prefix = f"{architecture}."
    if any(key.startswith(prefix) and key.removeprefix(prefix) not in _KNOWN_KEYS for key in header.metadata):
        return False
    names = (tensor.name for part in (header, *further_parts) for tensor in part.tensors)
    return all(_LAYER.sub("blk.0.", name) in _KNOWN_TENSORS for name in names)


def check_model(fields: Fields, tensors: Mapping[str, TensorInfo], n_tokens: int) -> None:
    """Raises `ModelFileError` for the first defect. `tensors` by name, from all parts of a split file."""
    architecture = fields.scalar("general.architecture", ValueType.STRING)
    n_layers = _check_general(fields, architecture)
    for tensor in tensors.values():
        _check_type(fields, tensor)
    if architecture not in LLAMA_LIKE:
        return
    _check_caps(fields, architecture)
    sizes = _sizes(fields, architecture, n_layers)
    for name, shape, required in _expected(sizes, n_tokens):
        _check_tensor(fields, tensors.get(name), name, shape, required=required)
    for layer in range(n_layers):
        separate = [f"blk.{layer}.attn_{name}.weight" for name in "qkv"]
        missing = [name for name in separate if name not in tensors]
        if missing and f"blk.{layer}.attn_qkv.weight" not in tensors:
            raise fields.error(f"tensor {missing[0]} is missing")


def check_vocabulary_only(fields: Fields) -> None:
    """Checks of a file without tensors. It may lack hyperparameters, but llama.cpp asserts on those it has."""
    prefix = fields.scalar("general.architecture", ValueType.STRING) + "."
    if prefix + "block_count" in fields:
        _check_counts(fields, prefix, _number(fields, prefix + "block_count", 1, _MAX_LAYERS))


def _number(fields: Fields, key: str, lowest: int, highest: int) -> int:
    value = fields.scalar(key, ValueType.UINT32)
    if value is None:
        raise fields.error(f"{key} is missing")
    if not lowest <= value <= highest:
        raise fields.error(f"{key} is {value}, expected {lowest} to {highest}")
    return int(value)


def _check_general(fields: Fields, architecture: str) -> int:
    """Number of layers, after the checks that hold for every architecture."""
    prefix = architecture + "."
    _number(fields, prefix + "context_length", 1, _MAX_CONTEXT)
    _number(fields, prefix + "embedding_length", 1, _MAX_WIDTH)
    n_layers = _number(fields, prefix + "block_count", 1, _MAX_LAYERS)
    _check_counts(fields, prefix, n_layers)
    return n_layers


def _check_counts(fields: Fields, prefix: str, n_layers: int) -> None:
    predicted = fields.scalar(prefix + "nextn_predict_layers", ValueType.UINT32)
    if predicted is not None and predicted > n_layers:
        raise fields.error(f"{prefix}nextn_predict_layers is {predicted}, more than its {n_layers} layers")
    for key, value in fields.header.metadata.items():
        if key.startswith(prefix) and isinstance(value, float) and not isfinite(value):
            raise fields.error(f"{key} is {value}, expected a finite number")
    scaling = fields.scalar(prefix + "rope.scaling.type", ValueType.STRING)
    if scaling is not None and scaling not in _ROPE_SCALINGS:
        raise fields.error(f"{prefix}rope.scaling.type is {scaling!r}, not one of {', '.join(sorted(_ROPE_SCALINGS))}")
    _check_experts(fields, prefix, n_layers)


def _check_caps(fields: Fields, architecture: str) -> None:
    """Gemma 2 always has a window and divides by both caps; what is missing has a default."""
    prefix = architecture + "."
    window = fields.scalar(prefix + "attention.sliding_window", ValueType.UINT32)
    caps = {key: fields.scalar(f"{prefix}{key}_logit_softcapping", ValueType.FLOAT32) for key in ("attn", "final")}
    wrong = [f"{key}_logit_softcapping is {cap}" for key, cap in caps.items() if cap is not None and not cap > 0]
    if window == 0:
        wrong.append("attention.sliding_window is 0")
    if architecture == "gemma2" and wrong:
        raise fields.error(f"{prefix}{wrong[0]}, expected a number above 0")


def _check_experts(fields: Fields, prefix: str, n_layers: int) -> None:
    experts = fields.scalar(prefix + "expert_count", ValueType.UINT32) or 0
    used = max(fields.per_layer(prefix + "expert_used_count", n_layers) or (0,))
    groups = fields.scalar(prefix + "expert_group_count", ValueType.UINT32) or 0
    groups_used = fields.scalar(prefix + "expert_group_used_count", ValueType.UINT32) or 0
    agrees = used == 0 and groups == 0
    if experts:
        agrees = experts <= _MAX_EXPERTS and 0 < used <= experts and groups < experts
        agrees = agrees and (groups <= 1 or (experts % groups == 0 and 0 < groups_used < groups))
    if not agrees:
        raise fields.error(
            f"{prefix}expert_count {experts}, expert_used_count {used}, expert_group_count {groups} and "
            f"expert_group_used_count {groups_used} do not fit together"
        )


def _sizes(fields: Fields, architecture: str, n_layers: int) -> _Sizes:
    prefix = architecture + "."
    n_embd = fields.header.metadata[prefix + "embedding_length"]
    n_heads = fields.per_layer(prefix + "attention.head_count", n_layers)
    n_ff = fields.per_layer(prefix + "feed_forward_length", n_layers)
    if n_heads is None or n_ff is None:
        missing = "attention.head_count" if n_heads is None else "feed_forward_length"
        raise fields.error(f"{prefix}{missing} is missing")
    n_heads_kv = fields.per_layer(prefix + "attention.head_count_kv", n_layers) or n_heads
    for heads, heads_kv in zip(n_heads, n_heads_kv, strict=True):
        if not 1 <= heads_kv <= heads <= _MAX_WIDTH or heads % heads_kv:
            raise fields.error(f"{heads} attention heads with {heads_kv} key-value heads make no attention layer")
    key_length = fields.scalar(prefix + "attention.key_length", ValueType.UINT32)
    value_length = fields.scalar(prefix + "attention.value_length", ValueType.UINT32)
    key_length = n_embd // n_heads[0] if key_length is None else key_length
    value_length = n_embd // n_heads[0] if value_length is None else value_length
    rotated = fields.scalar(prefix + "rope.dimension_count", ValueType.UINT32)
    rotated = key_length if rotated is None else rotated
    may_rotate = 2 <= rotated < key_length and rotated % 2 == 0 and architecture == _FUSED
    agree = value_length == key_length and (rotated == key_length or may_rotate)
    if not 2 <= key_length <= _MAX_WIDTH or key_length % 2 or not agree:
        raise fields.error(
            f"attention heads of {key_length} (keys), {value_length} (values) and {rotated} (rotated) elements: "
            "expected three times the same even number"
        )
    epsilon = fields.scalar(prefix + "attention.layer_norm_rms_epsilon", ValueType.FLOAT32)
    if epsilon is None or not 0 < epsilon < 1:
        raise fields.error(f"{prefix}attention.layer_norm_rms_epsilon is {epsilon}, expected a number between 0 and 1")
    base = fields.scalar(prefix + "rope.freq_base", ValueType.FLOAT32)
    if base is not None and not base > 0:
        raise fields.error(f"{prefix}rope.freq_base is {base}, expected a positive number")
    n_experts = fields.scalar(prefix + "expert_count", ValueType.UINT32) or 0
    is_fused = architecture == _FUSED
    return _Sizes(
        n_embd, n_layers, n_heads, n_heads_kv, key_length, value_length, rotated, n_ff, n_experts, is_fused
    )  # fmt: skip


def _expected(sizes: _Sizes, n_tokens: int) -> Iterator[tuple[str, tuple[int, ...], bool]]:
    """Name, shape (row length first) and whether it must be there, for each tensor of a Llama-like model."""
    n_embd = sizes.n_embd
    yield "token_embd.weight", (n_embd, n_tokens), True
    yield "output.weight", (n_embd, n_tokens), False
    yield "output.bias", (n_tokens,), False
    yield "output_norm.weight", (n_embd,), True
    for name in ("rope_freqs", "rope_factors_long", "rope_factors_short"):
        yield f"{name}.weight", (sizes.n_rotated // 2,), False
    for layer in range(sizes.n_layers):
        heads, heads_kv, n_ff = sizes.n_heads[layer], sizes.n_heads_kv[layer], sizes.n_ff[layer]
        query, key, value = heads * sizes.key_length, heads_kv * sizes.key_length, heads_kv * sizes.value_length
        block = f"blk.{layer}."
        yield block + "attn_norm.weight", (n_embd,), True
        yield block + "ffn_norm.weight", (n_embd,), True
        yield block + "attn_qkv.weight", (n_embd, query + key + value), False
        yield block + "attn_qkv.bias", (query + key + value,), False
        yield block + "attn_output.weight", (heads * sizes.value_length, n_embd), True
        yield block + "attn_output.bias", (n_embd,), False
        for name, width in (("q", query), ("k", key), ("v", value)):
            yield f"{block}attn_{name}.weight", (n_embd, width), False
            yield f"{block}attn_{name}.bias", (width,), False
        for name, width in (("attn_q", sizes.key_length), ("attn_k", sizes.key_length)):
            yield f"{block}{name}_norm.weight", (width,), False
        for name in ("post_attention", "post_ffw"):
            yield f"{block}{name}_norm.weight", (n_embd,), False
        if not sizes.n_experts:
            yield block + "ffn_up.weight", (n_embd, 2 * n_ff if sizes.is_fused else n_ff), True
            yield block + "ffn_gate.weight", (n_embd, n_ff), not sizes.is_fused
            yield block + "ffn_down.weight", (n_ff, n_embd), True
            for name, width in (("up", n_ff), ("gate", n_ff), ("down", n_embd)):
                yield f"{block}ffn_{name}.bias", (width,), False
        for name in ("attn_q", "attn_k", "attn_v", "attn_qkv", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
            yield f"{block}{name}.scale", (1,), False
            yield f"{block}{name}.input_scale", (1,), False


def _check_tensor(
    fields: Fields, tensor: TensorInfo | None, name: str, shape: tuple[int, ...], *, required: bool
) -> None:
    if tensor is None:
        if required:
            raise fields.error(f"tensor {name} is missing")
        return
    found = tensor.shape + (1,) * (len(shape) - len(tensor.shape))
    if found[: len(shape)] != shape or any(size != 1 for size in found[len(shape) :]):
        raise fields.error(
            f"tensor {name} has the shape {list(tensor.shape)}, but the hyperparameters say {list(shape)}"
        )
    if len(shape) == 1:
        _require_f32(fields, tensor)


def _check_type(fields: Fields, tensor: TensorInfo) -> None:
    """llama.cpp adds and scales in F32 only, and ends the process on a matrix that no kernel of it multiplies.

    The name tells what is added, and not the shape: a matrix of one row is written as a vector, such as the gate of
    Qwen's shared expert, which published files have in BF16. Vectors of unknown names are tried.
    """
    if tensor.type in _WHOLE_NUMBERS and _TABLES.search(tensor.name):
        return
    if _ADDED.search(tensor.name):
        _require_f32(fields, tensor)
    if not TENSOR_TYPES[tensor.type].multiplies:
        raise fields.error(f"tensor {tensor.name} has the type {tensor.type_name}, which is not a type for weights")


def _require_f32(fields: Fields, tensor: TensorInfo) -> None:
    if tensor.type != _F32:
        raise fields.error(f"tensor {tensor.name} is a vector of type {tensor.type_name}, expected F32")


_KNOWN_TENSORS = frozenset(
    name for name, _, _ in _expected(_Sizes(0, 1, (0,), (0,), 0, 0, 0, (0,), 0, is_fused=False), 0)
)
"""Names of the tensors of Llama-like models, those of layers as in layer 0."""
