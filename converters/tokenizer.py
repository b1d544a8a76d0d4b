"""Chooses how to read the tokenizer of a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge_wsd.errors import ConversionError

from .checkpoint import Checkpoint
from .tokenizer_bpe import read_bpe
from .vocabulary import Vocabulary


def read_vocabulary(checkpoint: Checkpoint, n_vocab: int, pre_tokenizer: str | None) -> Vocabulary:
    """The vocabulary for a model of `n_vocab` embeddings. Raises ConversionError for tokenizers it does not know."""
    tokenizer = checkpoint.json("tokenizer.json")
    if tokenizer is not None and _is_byte_level_bpe(tokenizer):
        return read_bpe(checkpoint, tokenizer, n_vocab, pre_tokenizer)
    kind = ((tokenizer or {}).get("model") or {}).get("type")
    raise ConversionError(f"the tokenizer (model {kind!r}) is not supported; expected byte-level BPE or SentencePiece")


def _is_byte_level_bpe(tokenizer: Mapping[str, Any]) -> bool:
    model = tokenizer.get("model")
    return isinstance(model, dict) and model.get("type") == "BPE" and not model.get("byte_fallback")
