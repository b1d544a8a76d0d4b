"""The parts of tokenizer.json that every kind of model shares: added tokens and the post-processor."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from edge_wsd.errors import ConversionError

from .checkpoint import Checkpoint
from .json_files import read_json
from .vocabulary import AddedToken, TokenTable

# Stand-ins for images and sounds, which checkpoints that read only text list without embeddings for them.
_OTHER_SENSES = ("<image_soft_token>", "<audio_soft_token>")


def added_tokens(tokenizer: Mapping[str, Any]) -> list[AddedToken]:
    """The tokens kept whole. Raises ConversionError for entries without an id and a text, or one id twice."""
    found: dict[int, AddedToken] = {}
    listed = tokenizer.get("added_tokens") or []
    if not isinstance(listed, list):
        raise ConversionError("tokenizer.json: added_tokens is not a list")
    for entry in listed:
        index, text = (entry.get("id"), entry.get("content")) if isinstance(entry, dict) else (None, None)
        if type(index) is not int or not isinstance(text, str) or not text:
            raise ConversionError(f"tokenizer.json: added token {entry!r:.80} has no id or no content")
        if index in found and found[index].text != text:
            both = f"{found[index].text!r:.60} and {text!r:.60}"
            raise ConversionError(f"tokenizer.json: added tokens {both} share the id {index}")
        found[index] = AddedToken(index, text, bool(entry.get("special")), bool(entry.get("rstrip")))
    return list(found.values())


def tokens_beside_model(folder: Path) -> list[AddedToken]:
    """The tokens that a checkpoint with tokenizer.model alone adds to the model's own. Raises ConversionError."""
    decoder = (read_json(folder, "tokenizer_config.json") or {}).get("added_tokens_decoder")
    if isinstance(decoder, dict) and decoder:
        entries = [(key, entry) for key, entry in decoder.items() if isinstance(entry, dict) and key.isdecimal()]
        return added_tokens({"added_tokens": [{**entry, "id": int(key)} for key, entry in entries]})
    plain = read_json(folder, "added_tokens.json") or {}
    return added_tokens({"added_tokens": [{"id": token, "content": text} for text, token in plain.items()]})


def numbered(
    added: Iterable[AddedToken], ids: Mapping[str, int], table: TokenTable, notes: list[str]
) -> Iterator[AddedToken]:
    """Added tokens with the ids that the tokenizers library gives them, whatever tokenizer.json says.

    A text of the vocabulary keeps its id there, any other gets the next free one. Raises ConversionError for one that
    is listed beyond the embeddings.
    """
    latest = len(ids) - 1
    for token in added:
        if token.id >= table.size and token.text in _OTHER_SENSES:
            notes.append(f"token {token.text} has no embedding and is left out")
            continue
        table.require(token.id, token.text)
        real = ids.get(token.text, latest + 1)
        latest = max(latest, real)
        if real != token.id:
            notes.append(f"added token {token.text!r} is listed as {token.id}; it has id {real}, as in transformers")
        yield replace(token, id=real)


def strip_notes(tokenizer: Mapping[str, Any]) -> tuple[str, ...]:
    """A sentence about added tokens that take neighbouring spaces with them, which GGUF cannot say."""
    takers = [
        entry.get("content")
        for entry in tokenizer.get("added_tokens") or []
        if entry.get("lstrip") or entry.get("rstrip") or entry.get("single_word")
    ]
    if not takers:
        return ()
    return (f"token {takers[0]!r} and {len(takers) - 1} more absorb spaces around them; llama.cpp keeps those",)


def edge_tokens(
    checkpoint: Checkpoint, tokenizer: Mapping[str, Any], index: Mapping[str, int], special: dict[str, int]
) -> tuple[bool, bool]:
    """Whether BOS is put before a text and EOS behind it.

    tokenizer_config.json goes first where it says so; otherwise the post-processor's template decides.
    """
    config = checkpoint.json("tokenizer_config.json") or {}
    before, after = _template(tokenizer.get("post_processor"))
    flags = []
    for kind, texts in (("bos", before), ("eos", after)):
        if len(texts) == 1 and kind not in special and texts[0] in index:
            special[kind] = index[texts[0]]
        stated = config.get(f"add_{kind}_token")
        if isinstance(stated, bool):
            flags.append(stated and kind in special)
            continue
        if texts and [index.get(text) for text in texts] != [special.get(kind)]:
            raise ConversionError(
                f"tokenizer.json: the post-processor adds {' '.join(texts)!r}, not the {kind} token alone"
            )
        flags.append(bool(texts))
    return flags[0], flags[1]


def _template(processor: Any) -> tuple[list[str], list[str]]:
    """The special tokens a post-processor puts before and behind a single text."""
    if processor is None:
        return [], []
    kind = processor.get("type") if isinstance(processor, dict) else processor
    if kind == "ByteLevel":
        return [], []
    if kind == "Sequence":
        for step in _list(processor, "processors"):
            before, after = _template(step)
            if before or after:
                return before, after
        return [], []
    if kind != "TemplateProcessing":
        raise ConversionError(f"tokenizer.json: post_processor {kind!r:.80} is not supported")
    before, after = [], []
    side = before
    for piece in _list(processor, "single"):
        if isinstance(piece, dict) and "Sequence" in piece:
            side = after
            continue
        token = piece.get("SpecialToken") if isinstance(piece, dict) else None
        side.append(str(token.get("id")) if isinstance(token, dict) else repr(piece)[:40])
    return before, after


def _list(values: Mapping[str, Any], key: str) -> list[Any]:
    value = values.get(key) or []
    if not isinstance(value, list):
        raise ConversionError(f"tokenizer.json: post_processor.{key} is not a list")
    return value
