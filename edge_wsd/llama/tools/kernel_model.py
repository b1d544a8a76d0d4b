"""A model of one layer that exercises the kernels of one type of weights, and what it must compute.

Its weights are stored by ggml's quantizer, in the widths that every kernel of llama.cpp takes: rows of 256, outputs in
multiples of 32. Two experts, both always used, exercise the products with chosen matrices too. What it must compute is
reckoned by numpy from the same weights, so that a kernel which is wrong is found even if all kernels are.

>>> model = KernelModel("Q4_0")
>>> model.write(Path("q4_0.gguf"))
>>> model.logits(tokens).shape
(73, 256)
"""

from __future__ import annotations

import ctypes
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_wsd.llama.library import ggml_function

Floats = NDArray[np.float32]

N_VOCAB = 256
N_CONTEXT = 128
_WIDTH, _HEADS, _HEADS_KV, _HEAD, _EXPERTS = 256, 4, 2, 64, 2
_EPSILON, _ROPE_BASE = 1e-5, 10000.0
_DISTINCT_ROWS = 64
_SCALE = _WIDTH**-0.5
_ALIGNMENT = 32

# ggml's number of each type.
TYPES = {
    "F32": 0,
    "F16": 1,
    "BF16": 30,
    "Q4_0": 2,
    "Q4_1": 3,
    "Q5_0": 6,
    "Q5_1": 7,
    "Q8_0": 8,
    "Q2_K": 10,
    "Q3_K": 11,
    "Q4_K": 12,
    "Q5_K": 13,
    "Q6_K": 14,
    "IQ4_NL": 20,
    "IQ4_XS": 23,
    "MXFP4": 39,
}
_MATRICES = {
    "token_embd": (N_VOCAB,),
    "blk.0.attn_q": (_HEADS * _HEAD,),
    "blk.0.attn_k": (_HEADS_KV * _HEAD,),
    "blk.0.attn_v": (_HEADS_KV * _HEAD,),
    "blk.0.attn_output": (_WIDTH,),
    "blk.0.ffn_gate_exps": (_EXPERTS, _WIDTH),
    "blk.0.ffn_up_exps": (_EXPERTS, _WIDTH),
    "blk.0.ffn_down_exps": (_EXPERTS, _WIDTH),
    "output": (N_VOCAB,),
}
_NORMS = ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm")
_ROUTER = "blk.0.ffn_gate_inp"
_METADATA: dict[str, str | int | float] = {
    "general.architecture": "llama",
    "llama.context_length": N_CONTEXT,
    "llama.embedding_length": _WIDTH,
    "llama.block_count": 1,
    "llama.feed_forward_length": _WIDTH,
    "llama.attention.head_count": _HEADS,
    "llama.attention.head_count_kv": _HEADS_KV,
    "llama.attention.layer_norm_rms_epsilon": _EPSILON,
    "llama.rope.freq_base": _ROPE_BASE,
    "llama.expert_count": _EXPERTS,
    "llama.expert_used_count": _EXPERTS,
    "llama.vocab_size": N_VOCAB,
    "tokenizer.ggml.model": "none",
}


class KernelModel:
    """Random weights, the same for the same type: `stored` as they lie in the file, `values` as floats."""

    def __init__(self, type_name: str) -> None:
        """`type_name` is one of `TYPES`. The rows of all matrices are drawn from a few that are quantized once."""
        random = np.random.default_rng(TYPES[type_name])
        rows = random.normal(0, _SCALE, (_DISTINCT_ROWS, _WIDTH)).astype(np.float32)
        packed = _quantize(TYPES[type_name], rows)
        unpacked = _dequantize(type_name, packed)
        self._type = TYPES[type_name]
        self.stored: dict[str, NDArray[Any]] = {}
        self.values: dict[str, Floats] = {}
        for name, shape in _MATRICES.items():
            drawn = random.integers(0, _DISTINCT_ROWS, shape)
            self.stored[name], self.values[name] = packed[drawn], unpacked[drawn]
        for name in _NORMS:
            self.values[name] = random.uniform(0.5, 1.5, _WIDTH).astype(np.float32)
        self.values[_ROUTER] = random.normal(0, _SCALE, (_EXPERTS, _WIDTH)).astype(np.float32)

    def write(self, path: Path) -> None:
        """The model as a GGUF file."""
        head = [b"GGUF", struct.pack("<IQQ", 3, len(self.values), len(_METADATA))]
        head += [_text(key) + _value(value) for key, value in _METADATA.items()]
        data: list[bytes] = []
        offset = 0
        for name, values in self.values.items():
            raw = self.stored.get(name, values).tobytes()
            kind = self._type if name in self.stored else TYPES["F32"]
            shape = values.shape[::-1]
            head.append(_text(f"{name}.weight") + struct.pack(f"<I{len(shape)}Q", len(shape), *shape))
            head.append(struct.pack("<IQ", kind, offset))
            data += [raw, bytes(-len(raw) % _ALIGNMENT)]
            offset += len(raw) + len(data[-1])
        whole = b"".join(head)
        path.write_bytes(b"".join([whole, bytes(-len(whole) % _ALIGNMENT), *data]))

    def logits(self, tokens: NDArray[np.int64]) -> Floats:
        """What follows each of `tokens`, of shape (n_tokens, N_VOCAB)."""
        weights = self.values
        hidden = weights["token_embd"][tokens]
        hidden = hidden + self._attention(_normed(hidden, weights["blk.0.attn_norm"]))
        hidden = hidden + self._experts(_normed(hidden, weights["blk.0.ffn_norm"]))
        return np.asarray(_normed(hidden, weights["output_norm"]) @ weights["output"].T, np.float32)

    def _attention(self, inputs: Floats) -> Floats:
        weights, n = self.values, len(inputs)
        queries = _rotated((inputs @ weights["blk.0.attn_q"].T).reshape(n, _HEADS, _HEAD))
        keys = _rotated((inputs @ weights["blk.0.attn_k"].T).reshape(n, _HEADS_KV, _HEAD))
        values = (inputs @ weights["blk.0.attn_v"].T).reshape(n, _HEADS_KV, _HEAD)
        keys, values = (np.repeat(each, _HEADS // _HEADS_KV, axis=1) for each in (keys, values))
        scores = np.einsum("qhd,khd->hqk", queries, keys) * _HEAD**-0.5
        scores = np.where(np.tri(n, dtype=bool), scores, -np.inf)
        mixed = np.einsum("hqk,khd->qhd", _softmax(scores), values).reshape(n, -1)
        return np.asarray(mixed @ weights["blk.0.attn_output"].T, np.float32)

    def _experts(self, inputs: Floats) -> Floats:
        weights = self.values
        shares = _softmax(inputs @ weights[_ROUTER].T)
        total = np.zeros_like(inputs)
        for expert in range(_EXPERTS):
            gate = inputs @ weights["blk.0.ffn_gate_exps"][expert].T
            inner = gate / (1 + np.exp(-gate)) * (inputs @ weights["blk.0.ffn_up_exps"][expert].T)
            total += shares[:, expert : expert + 1] * (inner @ weights["blk.0.ffn_down_exps"][expert].T)
        return total


def relative_error(found: Floats, expected: Floats) -> float:
    """Root of the mean squared difference over that of `expected`; NaN if `found` holds one."""
    return float(np.sqrt(np.mean((found - expected) ** 2) / np.mean(expected**2)))


def _normed(hidden: Floats, weight: Floats) -> Floats:
    return np.asarray(hidden / np.sqrt(np.mean(hidden**2, axis=-1, keepdims=True) + _EPSILON) * weight, np.float32)


def _softmax(scores: Floats) -> Floats:
    exponentials = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True), np.float32)


def _rotated(heads: Floats) -> Floats:
    """Each pair of neighbours turned by its position: `heads` [n_tokens, n_heads, width]."""
    angles = np.arange(len(heads))[:, None] * _ROPE_BASE ** (-np.arange(0, _HEAD, 2) / _HEAD)
    turns = np.exp(1j * angles)[:, None, :]
    pairs = (heads[..., ::2] + 1j * heads[..., 1::2]) * turns
    return np.stack([pairs.real, pairs.imag], axis=-1).reshape(heads.shape).astype(np.float32)


def _quantize(kind: int, rows: Floats) -> NDArray[np.uint8]:
    """The rows in ggml's type `kind`, as bytes."""
    pointer, count, size = ctypes.c_void_p, ctypes.c_int64, ctypes.c_size_t
    n_bytes = ggml_function("ggml_row_size", size, ctypes.c_int, count)(kind, rows.shape[1])
    store = ggml_function("ggml_quantize_chunk", size, ctypes.c_int, pointer, pointer, count, count, count, pointer)
    packed = np.zeros((len(rows), n_bytes), np.uint8)
    store(kind, rows.ctypes.data, packed.ctypes.data, 0, len(rows), rows.shape[1], None)
    return packed


def _dequantize(type_name: str, packed: NDArray[np.uint8]) -> Floats:
    """The rows as floats again, by ggml's scalar code."""
    if type_name in ("F32", "F16"):
        return packed.view(np.float32 if type_name == "F32" else np.float16).astype(np.float32)
    if type_name == "BF16":
        return (packed.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    name = type_name.lower().replace("_k", "_K")
    unpack = ggml_function(f"dequantize_row_{name}", None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)
    values = np.empty((len(packed), _WIDTH), np.float32)
    unpack(packed.ctypes.data, values.ctypes.data, values.size)
    return values


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()


def _value(value: str | int | float) -> bytes:
    """A value of the metadata behind the number of its kind in GGUF."""
    if isinstance(value, str):
        return struct.pack("<I", 8) + _text(value)
    return struct.pack("<If", 6, value) if isinstance(value, float) else struct.pack("<II", 4, value)
