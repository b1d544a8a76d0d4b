"""The parts of tokenizer.json that every kind of model shares: added tokens and the post-processor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge_wsd.errors import ConversionError

from .checkpoint import Checkpoint
from .vocabulary import AddedToken


def added_tokens(tokenizer: Mapping[str, Any]) -> list[AddedToken]:
    """The tokens kept whole. Raises ConversionError for entries without an id and a text."""
    found = []
    for entry in tokenizer.get("added_tokens") or []:
        index, text = (entry.get("id"), entry.get("content")) if isinstance(entry, dict) else (None, None)
        if type(index) is not int or not isinstance(text, str):
            raise ConversionError(f"tokenizer.json: added token {entry!r:.80} has no id or no content")
        found.append(AddedToken(index, text, bool(entry.get("special"))))
    return found


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
    if processor is None or processor.get("type") == "ByteLevel":
        return [], []
    if processor.get("type") == "Sequence":
        for step in processor.get("processors") or []:
            before, after = _template(step)
            if before or after:
                return before, after
        return [], []
    if processor.get("type") != "TemplateProcessing":
        raise ConversionError(f"tokenizer.json: post_processor {processor.get('type')!r} is not supported")
    before, after = [], []
    side = before
    for piece in processor.get("single") or []:
        if "Sequence" in piece:
            side = after
        else:
            side.append(str(piece.get("SpecialToken", {}).get("id")))
    return before, after
