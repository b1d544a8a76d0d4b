"""The configs of published models, as far as they matter: accepted, with as many weights as the models have."""

from __future__ import annotations

from math import prod
from types import SimpleNamespace
from typing import Any

import gguf
import pytest

from edge_wsd.converters.checkpoint.config import Config
from edge_wsd.converters.conversion import family_of


def llama(hidden: int, ff: int, layers: int, heads: int, vocab: int, **more: Any) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"], "hidden_size": hidden, "intermediate_size": ff,
        "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": 8, "vocab_size": vocab,
        "max_position_embeddings": 131072, "rms_norm_eps": 1e-5, "hidden_act": "silu", "rope_theta": 500000.0,
        "attention_bias": False, "mlp_bias": False, "tie_word_embeddings": False, "pretraining_tp": 1, **more,
    }  # fmt: skip


def scaling(factor: float) -> dict[str, Any]:
    return {
        "factor": factor, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "rope_type": "llama3",
        "original_max_position_embeddings": 8192,
    }  # fmt: skip


def mistral(vocab: int, window: int | None, theta: float) -> dict[str, Any]:
    base = llama(4096, 14336, 32, 32, vocab, architectures=["MistralForCausalLM"], sliding_window=window)
    return {**base, "rope_theta": theta, "max_position_embeddings": 32768}


def qwen(name: str, hidden: int, ff: int, layers: int, heads: int, kv: int, vocab: int, **more: Any) -> dict[str, Any]:
    return {
        **llama(hidden, ff, layers, heads, vocab), "architectures": [name], "num_key_value_heads": kv,
        "rope_theta": 1000000.0, "max_window_layers": layers, "sliding_window": None, "use_sliding_window": False,
        "rope_scaling": None, "max_position_embeddings": 32768, **more,
    }  # fmt: skip


def gemma2(hidden: int, ff: int, layers: int, heads: int, kv: int, head_dim: int, scalar: int) -> dict[str, Any]:
    return {
        "architectures": ["Gemma2ForCausalLM"], "hidden_size": hidden, "intermediate_size": ff,
        "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": kv, "head_dim": head_dim,
        "query_pre_attn_scalar": scalar, "hidden_act": "gelu_pytorch_tanh", "hidden_activation": "gelu_pytorch_tanh",
        "sliding_window": 4096, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0,
        "max_position_embeddings": 8192, "rope_theta": 10000.0, "vocab_size": 256000, "cache_implementation": "hybrid",
    }  # fmt: skip


def gemma3(**text: Any) -> dict[str, Any]:
    shared = {"rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "sliding_window": 1024}
    return {
        "architectures": ["Gemma3ForConditionalGeneration"], "text_config": {**shared, **text},
        "vision_config": {"hidden_size": 1152},
    }  # fmt: skip


def phi3(hidden: int, ff: int, layers: int, heads: int, kv: int, context: int, window: int | None) -> dict[str, Any]:
    factors = [1.0] * (hidden // heads // 2)
    longrope = {"type": "longrope", "short_factor": factors, "long_factor": factors}
    return {
        **llama(hidden, ff, layers, heads, 32064), "architectures": ["Phi3ForCausalLM"], "num_key_value_heads": kv,
        "max_position_embeddings": context, "original_max_position_embeddings": 4096, "rope_theta": 10000.0,
        "rope_scaling": longrope if context > 4096 else None, "sliding_window": window,
    }  # fmt: skip


QWEN2, QWEN3 = "Qwen2ForCausalLM", "Qwen3ForCausalLM"
PUBLISHED: dict[str, tuple[dict[str, Any], int, str]] = {
    "Llama-3.1-8B": (llama(4096, 14336, 32, 32, 128256, rope_scaling=scaling(8.0)), 8_030_261_248, ""),
    "Llama-3.1-70B": (llama(8192, 28672, 80, 64, 128256, rope_scaling=scaling(8.0)), 70_553_706_496, ""),
    "Llama-3.2-3B": (
        llama(3072, 8192, 28, 24, 128256, head_dim=128, tie_word_embeddings=True, rope_scaling=scaling(32.0)),
        3_212_749_824, "",
    ),
    "Mistral-7B-v0.1": (mistral(32000, 4096, 10000.0), 7_241_732_096, "the same up to 4096 tokens"),
    "Mistral-7B-v0.3": (mistral(32768, None, 1000000.0), 7_248_023_552, ""),
    "Qwen2.5-7B": (qwen(QWEN2, 3584, 18944, 28, 28, 4, 152064, sliding_window=131072), 7_615_616_512, ""),
    "Qwen2.5-0.5B": (qwen(QWEN2, 896, 4864, 24, 14, 2, 151936, tie_word_embeddings=True), 494_032_768, ""),
    "Qwen3-8B": (qwen(QWEN3, 4096, 12288, 36, 32, 8, 151936, head_dim=128), 8_190_735_360, ""),
    "Qwen3-0.6B": (
        qwen(QWEN3, 1024, 3072, 28, 16, 8, 151936, head_dim=128, tie_word_embeddings=True), 596_049_920, "",
    ),
    "Gemma-2-9B": (gemma2(3584, 14336, 42, 16, 8, 256, 256), 9_241_705_984, ""),
    "Gemma-2-27B": (gemma2(4608, 36864, 46, 32, 16, 128, 144), 27_227_128_320, ""),
    "Gemma-3-4B": (gemma3(hidden_size=2560, intermediate_size=10240, num_hidden_layers=34), 3_880_263_168, ""),
    "Gemma-3-12B": (
        gemma3(
            hidden_size=3840, intermediate_size=15360, num_hidden_layers=48, num_attention_heads=16,
            num_key_value_heads=8,
        ),
        11_766_034_176, "",
    ),
    "Phi-3-mini-4k": (phi3(3072, 8192, 32, 32, 32, 4096, 2047), 3_821_079_552, "the same up to 2047 tokens"),
    "Phi-3-mini-128k": (phi3(3072, 8192, 32, 32, 32, 131072, 262144), 3_821_079_552, "more than 4096 tokens"),
    "Phi-3-medium-128k": (phi3(5120, 17920, 40, 40, 10, 131072, 131072), 13_960_238_080, "more than 4096 tokens"),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_config_is_accepted_with_all_its_weights(name: str) -> None:
    values, n_params, told = PUBLISHED[name]
    family = family_of(SimpleNamespace(config=Config(values, "config.json")))  # type: ignore[arg-type]
    assert sum(prod(weight.shape) for weight in family.weights()) == n_params
    assert " ".join(family.notes()).count("tokens of context") <= 1 and told in " ".join(family.notes())
    assert bool(told) == bool(family.notes())
    family.made_here()
    family.describe(gguf.GGUFWriter(None, family.architecture))


@pytest.mark.parametrize("name", ["Gemma-2-9B", "Gemma-2-27B", "Gemma-3-4B", "Gemma-3-12B"])
def test_published_gemmas_need_no_other_scale_of_queries(name: str) -> None:
    family = family_of(SimpleNamespace(config=Config(PUBLISHED[name][0], "config.json")))  # type: ignore[arg-type]
    assert family.query_factor() == 1.0  # type: ignore[attr-defined]


def test_an_activation_may_have_its_other_name() -> None:
    """transformers knows SiLU as "swish" too; such a checkpoint was refused."""
    values, _, _ = PUBLISHED["Llama-3.2-3B"]
    family_of(SimpleNamespace(config=Config({**values, "hidden_act": "swish"}, "config.json")))  # type: ignore[arg-type]
