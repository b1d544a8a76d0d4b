"""What to tell about a pre-tokenizer that is not recognised: what was found, the parent model, the way on."""

from __future__ import annotations

import json
from typing import Any

from edge_wsd.errors import ConversionError

from ..checkpoint.folder import Checkpoint
from .pre_tokenizers import NAMES

# Model type and size of the vocabulary at least -> whose tokenizer that is, and what it uses. First match counts.
_PARENTS: tuple[tuple[frozenset[str], int, str, str], ...] = (
    (frozenset({"llama"}), 200_000, "Llama 4", "gpt-4o"),
    (frozenset({"llama"}), 128_000, "Llama 3", "llama-bpe"),
    (frozenset({"llama"}), 102_000, "DeepSeek LLM", "deepseek-llm"),
    (frozenset({"llama"}), 49_000, "SmolLM", "smollm"),
    (frozenset({"llama"}), 32_100, "DeepSeek Coder", "deepseek-coder"),
    (frozenset({"qwen2", "qwen3"}), 0, "Qwen 2 to 3", "qwen2"),
    (frozenset({"mistral"}), 100_000, "Mistral Nemo and later", "tekken"),
    (frozenset({"phi3"}), 200_000, "Phi-4-mini", "gpt-4o"),
    (frozenset({"phi3"}), 100_000, "Phi-4", "dbrx"),
)


def unrecognised(checkpoint: Checkpoint, definition: Any) -> ConversionError:
    """The error for `definition`, the pre_tokenizer of tokenizer.json; one line."""
    found = json.dumps(definition, ensure_ascii=True)
    facts = ", ".join(f"{key} {value}" for key, value in _facts(checkpoint).items())
    return ConversionError(
        f"tokenizer.json: pre_tokenizer {found:.300} is not recognised; known are {', '.join(NAMES)}. "
        f"This model: {facts or 'nothing is known about it'}. {_advice(checkpoint)}; edge-wsd verify then shows "
        "whether texts split alike"
    )


def _facts(checkpoint: Checkpoint) -> dict[str, str]:
    """What config.json and tokenizer_config.json say about the parent."""
    tokenizer = checkpoint.json("tokenizer_config.json") or {}
    found = {key: checkpoint.config.get(key) for key in ("architectures", "model_type", "vocab_size", "_name_or_path")}
    found["tokenizer_class"] = tokenizer.get("tokenizer_class")
    return {key: json.dumps(value)[:100] for key, value in found.items() if value}


def _advice(checkpoint: Checkpoint) -> str:
    kind, size = checkpoint.config.get("model_type"), checkpoint.config.get("vocab_size")
    for kinds, least, parent, name in _PARENTS:
        if kind in kinds and isinstance(size, int) and size >= least:
            return f"{parent} and its fine-tunes use {name}; if this is one of them: --pre-tokenizer {name}"
    return "If one of llama.cpp's splits text the same way: --pre-tokenizer NAME"
