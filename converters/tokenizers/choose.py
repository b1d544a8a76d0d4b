"""Chooses how to read the tokenizer of a checkpoint."""

from __future__ import annotations

from edge_wsd.errors import ConversionError

from ..checkpoint.folder import Checkpoint
from .bpe import read_bpe
from .spm import read_spm
from .vocabulary import GgufVocabulary


def read_vocabulary(checkpoint: Checkpoint, n_vocab: int, pre_tokenizer: str | None) -> GgufVocabulary:
    """The vocabulary for a model of `n_vocab` embeddings. Raises ConversionError for unknown tokenizers."""
    tokenizer = checkpoint.json("tokenizer.json") or {}
    model = tokenizer.get("model")
    kind = model.get("type", "BPE" if "merges" in model else None) if isinstance(model, dict) else None
    if isinstance(model, dict) and kind == "BPE" and not model.get("byte_fallback"):
        return read_bpe(checkpoint, tokenizer, n_vocab, pre_tokenizer)
    if kind == "Unigram":
        raise ConversionError("tokenizer.json: a SentencePiece unigram model is not supported; expected BPE")
    if kind == "BPE" or (kind is None and (checkpoint.folder / "tokenizer.model").is_file()):
        if pre_tokenizer:
            raise ConversionError(f"pre-tokenizer {pre_tokenizer} does not apply: a SentencePiece tokenizer has none")
        return read_spm(checkpoint, tokenizer, n_vocab)
    if kind is None:
        raise ConversionError(
            f"{checkpoint.folder} has neither a tokenizer.json with a model nor a tokenizer.model; save it again with "
            "transformers: AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)"
        )
    raise ConversionError(f"tokenizer.json: model {kind!r:.80} is not supported; expected BPE")
