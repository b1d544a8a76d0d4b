"""Published dimensions of the models of the built-in pairs, so that they can be planned before they are downloaded.

>>> known_shape("meta-llama/Llama-3.1-8B:Q4_K_M").weights_bytes
4912898304
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edge_wsd.errors import PlanError
from edge_wsd.models.gguf.shape import EMBEDDING, OUTPUT, ModelShape, WeightShape
from edge_wsd.models.plan.quant_recipe import stored_as

_AS_PUBLISHED = "BF16"


@dataclass(frozen=True, slots=True)
class _Published:
    """Hyperparameters as in a checkpoint's config.json."""

    architecture: str
    n_ctx_train: int
    n_embd: int
    n_layers: int
    n_ff: int
    n_heads: int
    n_heads_kv: int
    head_size: int
    n_vocab: int
    n_merges: int
    is_tied: bool
    sliding_window: int = 0
    norms: tuple[str, ...] = ("attn_norm", "ffn_norm")
    has_rope_factors: bool = False
    has_biases: bool = False
    """Of queries, keys and values."""


_GEMMA_NORMS = ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm")
_LLAMA_3B = _Published("llama", 131072, 3072, 28, 8192, 24, 8, 128, 128256, 280147, is_tied=True, has_rope_factors=True)
_MODELS = {
    "songff/Pilot-3B": _LLAMA_3B,
    "meta-llama/Llama-3.1-8B": _Published(
        "llama", 131072, 4096, 32, 14336, 32, 8, 128, 128256, 280147, is_tied=False, has_rope_factors=True
    ),
    "meta-llama/Llama-3.1-70B": _Published(
        "llama", 131072, 8192, 80, 28672, 64, 8, 128, 128256, 280147, is_tied=False, has_rope_factors=True
    ),
    "google/gemma-2-9b": _Published(
        "gemma2", 8192, 3584, 42, 14336, 16, 8, 256, 256000, 0, is_tied=True, sliding_window=4096, norms=_GEMMA_NORMS
    ),
    "google/gemma-2-27b": _Published(
        "gemma2", 8192, 4608, 46, 36864, 32, 16, 128, 256000, 0, is_tied=True, sliding_window=4096, norms=_GEMMA_NORMS
    ),
    "Qwen/Qwen2.5-1.5B-Instruct": _Published(
        "qwen2", 32768, 1536, 28, 8960, 12, 2, 128, 151936, 151387, is_tied=True, has_biases=True
    ),
    "Qwen/Qwen2.5-7B": _Published(
        "qwen2", 131072, 3584, 28, 18944, 28, 4, 128, 152064, 151387, is_tied=False, has_biases=True
    ),
    "Qwen/Qwen2.5-32B": _Published(
        "qwen2", 131072, 5120, 64, 27648, 40, 8, 128, 152064, 151387, is_tied=False, has_biases=True
    ),
    "HuggingFaceTB/SmolLM2-360M-Instruct": _Published(
        "llama", 8192, 960, 32, 2560, 15, 5, 64, 49152, 48900, is_tied=True
    ),
    "HuggingFaceTB/SmolLM2-1.7B": _Published("llama", 8192, 2048, 24, 8192, 32, 32, 64, 49152, 48900, is_tied=True),
}
KNOWN_MODELS = tuple(_MODELS)
"""Repositories whose shape is known here."""


def known_shape(name: str, type_name: str | None = None) -> ModelShape:
    """Shape of `REPO:TYPE`, or of `REPO` in the type given separately. Raises `PlanError` for an unknown one."""
    repository, _, in_name = name.partition(":")
    if repository not in _MODELS:
        raise PlanError(f"the shape of {name} is not known before it is there; pull it first")
    type_name = type_name or in_name
    if not type_name:
        raise PlanError(f"{name} comes in several types; say which, such as {repository}:Q4_K_M")
    about = _MODELS[repository]
    shape = ModelShape(
        name=f"{repository}:{type_name}",
        architecture=about.architecture,
        n_ctx_train=about.n_ctx_train,
        n_embd=about.n_embd,
        n_layers=about.n_layers,
        n_ff=about.n_ff,
        n_heads=(about.n_heads,) * about.n_layers,
        n_heads_kv=(about.n_heads_kv,) * about.n_layers,
        key_length=about.head_size,
        value_length=about.head_size,
        n_vocab=about.n_vocab,
        n_merges=about.n_merges,
        sliding_window=about.sliding_window,
        weights=tuple(_weights(about)),
    )
    return stored_as(shape, type_name)


def _weights(about: _Published) -> Iterator[WeightShape]:
    embd, n_ff = about.n_embd, about.n_ff
    query, key_value = about.n_heads * about.head_size, about.n_heads_kv * about.head_size
    yield WeightShape(EMBEDDING, (embd, about.n_vocab), _AS_PUBLISHED)
    if not about.is_tied:
        yield WeightShape(OUTPUT, (embd, about.n_vocab), _AS_PUBLISHED)
    yield WeightShape("output_norm.weight", (embd,), "F32")
    if about.has_rope_factors:
        yield WeightShape("rope_freqs.weight", (about.head_size // 2,), "F32")
    for layer in range(about.n_layers):
        block = f"blk.{layer}."
        for norm in about.norms:
            yield WeightShape(f"{block}{norm}.weight", (embd,), "F32")
        if about.has_biases:
            for name, n in (("attn_q", query), ("attn_k", key_value), ("attn_v", key_value)):
                yield WeightShape(f"{block}{name}.bias", (n,), "F32")
        for name, shape in (
            ("attn_q", (embd, query)),
            ("attn_k", (embd, key_value)),
            ("attn_v", (embd, key_value)),
            ("attn_output", (query, embd)),
            ("ffn_gate", (embd, n_ff)),
            ("ffn_up", (embd, n_ff)),
            ("ffn_down", (n_ff, embd)),
        ):
            yield WeightShape(f"{block}{name}.weight", shape, _AS_PUBLISHED)
