"""Changes after which a GGUF file is still whole and means something else: what loads is used, and may die of it.

>>> changes = choose_meaning(parsed, random.Random("seed"))
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

from edge_wsd.models.gguf.types import TENSOR_TYPES, ValueType
from tests.gguf_mutations import (
    FLOATS,
    INTERESTING,
    NAMES,
    TOKENIZER_KEYS,
    WORDS,
    Change,
    Parsed,
    architecture_of,
    choose_tensor,
    choose_value,
    payload,
    payload_like,
)

_SMALL = (0, 1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 32, 64, 100, 128, 256, 300)
_LENGTHS = (0, 1, 2, 3, 7, 15, 16, 17, 31, 255, 256, 300, 1 << 20, (1 << 31) - 1, 1 << 31, (1 << 32) - 1)
_ALIGNMENTS = (0, 1, 2, 8, 16, 31, 32, 33, 64, 4096, 1 << 20, 1 << 31)
_IDS = (0, 1, 255, 256, 300, (1 << 31) - 1, 1 << 31, (1 << 32) - 1)
_DIMENSIONS = (
    "embedding_length", "block_count", "feed_forward_length", "attention.head_count", "attention.head_count_kv",
    "attention.key_length", "attention.value_length", "attention.key_length_swa", "attention.value_length_swa",
    "rope.dimension_count", "rope.dimension_count_swa", "attention.sliding_window", "vocab_size", "pooling_type",
    "expert_count", "expert_used_count", "expert_group_count", "expert_group_used_count", "nextn_predict_layers",
    "embedding_length_out", "attention.sliding_window_pattern", "attention.shared_kv_layers", "expert_gating_func",
    "rope.scaling.original_context_length", "attention.causal", "expert_shared_count", "leading_dense_block_count",
)  # fmt: skip
_REALS = (
    "attention.layer_norm_epsilon", "attention.layer_norm_rms_epsilon", "rope.freq_base", "rope.freq_base_swa",
    "rope.scaling.factor", "rope.scale_linear", "rope.scaling.attn_factor", "rope.scaling.yarn_ext_factor",
    "rope.scaling.yarn_attn_factor", "rope.scaling.yarn_beta_fast", "rope.scaling.yarn_beta_slow",
    "rope.scaling.yarn_log_multiplier", "rope.scaling.alpha", "attention.scale", "attention.clamp_kqv",
    "attention.max_alibi_bias", "attn_logit_softcapping", "final_logit_softcapping", "logit_scale",
    "attention.temperature_scale", "embedding_scale", "residual_scale", "expert_weights_scale",
)  # fmt: skip
_SCALINGS = ("none", "linear", "yarn", "longrope", "dynamic", "")
_ID_KEYS = [key for key in TOKENIZER_KEYS if key.endswith("_id")]
_KINDS = ("adapter", "imatrix", "mmproj", "model", "control_vector", "")
_PATTERNS = ("0000c07f", "0000807f", "000080ff", "00000000", "ffffffff", "ffff7f7f")
"""Four bytes that fill a tensor: as F32 NaN, both infinities, zero, another NaN, the largest number."""


def choose_meaning(parsed: Parsed, source: random.Random) -> list[Change]:
    """Another architecture's name more often than not, and up to three more changes."""
    architecture, changes = architecture_of(parsed), []
    if source.random() < 0.6:
        architecture = source.choice(NAMES["architectures"])
        changes.append(["architecture", architecture])
        for key in ("attention.layer_norm_epsilon", "attention.layer_norm_rms_epsilon"):
            changes.append(["value", f"{architecture}.{key}", 6, payload(ValueType.FLOAT32, 1e-5).hex()])
    for _ in range(source.choice((0, 1, 1, 2, 3))):
        kind = source.choices(list(_CHANGES), [weight for weight, _ in _CHANGES.values()])[0]
        changes.append(_CHANGES[kind][1](parsed, architecture + ".", source))
    return [*changes, ["relayout"]]


def _integer(key: str, value: int) -> Change:
    return ["value", key, int(ValueType.UINT32), struct.pack("<I", value & (1 << 32) - 1).hex()]


def _real(key: str, value: float) -> Change:
    return ["value", key, int(ValueType.FLOAT32), payload(ValueType.FLOAT32, value).hex()]


def _text(key: str, value: str) -> Change:
    return ["value", key, int(ValueType.STRING), payload(ValueType.STRING, value).hex()]


def _type(parsed: Parsed, _prefix: str, source: random.Random) -> Change:
    if not parsed.tensors:
        return choose_value(parsed, source)
    return ["type", source.choice(parsed.tensors)[0], source.choice(list(TENSOR_TYPES))]


def _tensor(parsed: Parsed, _prefix: str, source: random.Random) -> Change:
    return choose_tensor(parsed, source) if parsed.tensors else choose_value(parsed, source)


def _weights(parsed: Parsed, _prefix: str, source: random.Random) -> Change:
    if not parsed.tensors:
        return choose_value(parsed, source)
    return ["weights", source.choice(parsed.tensors)[0], source.choice(_PATTERNS)]


def _dimension(_parsed: Parsed, prefix: str, source: random.Random) -> Change:
    return _integer(
        prefix + source.choice(_DIMENSIONS), source.choice(_SMALL if source.random() < 0.7 else INTERESTING)
    )


def _tokenizer(_parsed: Parsed, _prefix: str, source: random.Random) -> Change:
    if source.random() < 0.5:
        return _text("tokenizer.ggml.pre", source.choice((*NAMES["pre_tokenizers"], "", "nobody-knows")))
    return _text("tokenizer.ggml.model", source.choice(WORDS))


def _split(_parsed: Parsed, _prefix: str, source: random.Random) -> Change:
    key = source.choice(("split.no", "split.count", "split.tensors.count"))
    type_ = ValueType.INT32 if key.endswith("tensors.count") else ValueType.UINT16
    return ["value", key, int(type_), payload(type_, source.choice((0, 1, 2, 3, 1000, 32767))).hex()]


def _long(_parsed: Parsed, prefix: str, source: random.Random) -> Change:
    keys = ("tokenizer.chat_template", "general.name", "tokenizer.ggml.pre", prefix + "rope.scaling.type")
    return ["long", source.choice(keys), source.choice((1 << 12, 1 << 16, 1 << 20, 3 << 20))]


def _any_key(_parsed: Parsed, prefix: str, source: random.Random) -> Change:
    key, type_ = prefix + source.choice(NAMES["keys"]), source.choice((4, 4, 4, 6, 7))
    return (
        _integer(key, source.choice(_SMALL)) if type_ == 4 else ["value", key, type_, payload_like(type_, source).hex()]
    )


def _array(_parsed: Parsed, prefix: str, source: random.Random) -> Change:
    """A number for each layer, or for as many layers as there may be, or too few."""
    type_, n_elements = source.choice((4, 4, 5, 6, 7)), source.choice((0, 1, 2, 3, 4, 512, 513))
    elements = b"".join(payload_like(type_, source) for _ in range(n_elements))
    if type_ in (4, 5) and source.random() < 0.8:
        elements = struct.pack(f"<{n_elements}I", *(source.choice(_SMALL) for _ in range(n_elements)))
    key = source.choice((*_DIMENSIONS, *NAMES["keys"]))
    return ["value", prefix + key, int(ValueType.ARRAY), (struct.pack("<IQ", type_, n_elements) + elements).hex()]


_CHANGES: dict[str, tuple[int, Callable[[Parsed, str, random.Random], Change]]] = {
    "type": (24, _type),
    "tensor": (6, _tensor),
    "weights": (4, _weights),
    "length": (8, lambda _, prefix, source: _integer(prefix + "context_length", source.choice(_LENGTHS))),
    "alignment": (4, lambda _parsed, _prefix, source: ["alignment", source.choice(_ALIGNMENTS)]),
    "dimension": (14, _dimension),
    "real": (8, lambda _, prefix, source: _real(prefix + source.choice(_REALS), source.choice(FLOATS))),
    "scaling": (3, lambda _, prefix, source: _text(prefix + "rope.scaling.type", source.choice(_SCALINGS))),
    "tokenizer": (4, _tokenizer),
    "id": (4, lambda _parsed, _, source: _integer(f"tokenizer.ggml.{source.choice(_ID_KEYS)}", source.choice(_IDS))),
    "value": (6, lambda parsed, _, source: choose_value(parsed, source)),
    "key": (10, _any_key),
    "array": (6, _array),
    "split": (2, _split),
    "kind": (1, lambda _parsed, _prefix, source: _text("general.type", source.choice(_KINDS))),
    "long": (2, _long),
}
"""How often each is made, and how."""
