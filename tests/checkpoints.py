"""Small random checkpoints of every family, saved as transformers saves them.

>>> make_checkpoint(tmp_path / "model", "gemma2", sliding_window=16)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from tests.checkpoint_tokenizers import (  # noqa: E402
    BPE_IDS,
    GEMMA_IDS,
    N_VOCAB,
    SENTENCEPIECE_IDS,
    save_tokenizer,
)


@dataclass(frozen=True)
class Recipe:
    """Names of transformers' classes; `config` is what differs from SHARED."""

    model: str
    config_class: str
    config: Mapping[str, Any]


# Grouped queries, several layers, a context longer than the texts of the tests.
SHARED: Mapping[str, Any] = {
    "vocab_size": N_VOCAB, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512, "initializer_range": 0.15,
}  # fmt: skip
RECIPES: Mapping[str, Recipe] = {
    "llama": Recipe("LlamaForCausalLM", "LlamaConfig", BPE_IDS),
    "mistral": Recipe("MistralForCausalLM", "MistralConfig", {**SENTENCEPIECE_IDS, "sliding_window": None}),
    "qwen2": Recipe("Qwen2ForCausalLM", "Qwen2Config", BPE_IDS),
    "qwen3": Recipe("Qwen3ForCausalLM", "Qwen3Config", {**BPE_IDS, "head_dim": 32}),
    "gemma2": Recipe(
        "Gemma2ForCausalLM", "Gemma2Config",
        {**GEMMA_IDS, "num_hidden_layers": 3, "head_dim": 32, "query_pre_attn_scalar": 32, "sliding_window": 40},
    ),
    "gemma3": Recipe(
        "Gemma3ForCausalLM", "Gemma3TextConfig",
        {**GEMMA_IDS, "num_hidden_layers": 7, "head_dim": 32, "query_pre_attn_scalar": 32, "sliding_window": 40},
    ),
    "phi3": Recipe(
        "Phi3ForCausalLM", "Phi3Config", {**SENTENCEPIECE_IDS, "original_max_position_embeddings": 512},
    ),
}  # fmt: skip
FAMILIES = tuple(RECIPES)


def make_checkpoint(folder: Path, family: str, **config_changes: Any) -> Path:
    """Writes a random checkpoint of `family` (safetensors, config, tokenizer) into `folder`, made if need be.

    Besides values of the config, `config_changes` may hold seed (0), shards (False), dtype ("float32") and
    gate_scale (1.0), see `save_weights`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    save_weights(folder, family, **config_changes)
    save_tokenizer(folder, family)
    return folder


def save_weights(
    folder: Path,
    family: str,
    *,
    seed: int = 0,
    shards: bool = False,
    dtype: str = "float32",
    gate_scale: float = 1.0,
    **changes: Any,
) -> None:
    """Saves config and weights large enough for every part of the model to matter, and no tokenizer.

    A large `gate_scale` makes gates so steep that an activation passes values on or stops them, nothing between.
    """
    recipe = RECIPES[family]
    config = getattr(transformers, recipe.config_class)(**{**SHARED, **recipe.config, **changes})
    torch.manual_seed(seed)
    model = getattr(transformers, recipe.model)(config).eval()
    save_model(model, folder, shards=shards, dtype=dtype, gate_scale=gate_scale)


def save_model(
    model: Any, folder: Path, *, shards: bool = False, dtype: str = "float32", gate_scale: float = 1
) -> None:
    """Saves a new model of transformers after moving its norms and biases away from where they begin."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 1:
                weight.add_((0.2 if "norm" in name else 1.0) * torch.randn_like(weight))
            if "gate_proj" in name:
                weight.mul_(gate_scale)
            elif "down_proj" in name:
                weight.div_(gate_scale)
    model.to(getattr(torch, dtype)).save_pretrained(folder, max_shard_size="100KB" if shards else "5GB")


def load_reference(folder: Path) -> Any:
    """The checkpoint in transformers, float32; attention is computed step by step, as soft-capping needs it."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return model.eval()
