"""The parts of tokenizer.json that every kind of model shares: added tokens and the post-processor."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from edge_wsd.errors import ConversionError

from ..checkpoint.folder import Checkpoint
from ..checkpoint.json_files import read_json
from .special_tokens import declared_tokens, is_needed
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
    return _listed_in_config(folder) or _listed_in_added_tokens(folder)


def _listed_in_config(folder: Path) -> list[AddedToken]:
    decoder = (read_json(folder, "tokenizer_config.json") or {}).get("added_tokens_decoder")
    if not isinstance(decoder, dict):
        return []
    entries = [(key, entry) for key, entry in decoder.items() if isinstance(entry, dict) and key.isdecimal()]
    return added_tokens({"added_tokens": [{**entry, "id": int(key)} for key, entry in entries]})


def _listed_in_added_tokens(folder: Path) -> list[AddedToken]:
    plain = read_json(folder, "added_tokens.json") or {}
    return added_tokens({"added_tokens": [{"id": token, "content": text} for text, token in plain.items()]})


def numbered(
    checkpoint: Checkpoint, added: Iterable[AddedToken], ids: Mapping[str, int], table: TokenTable, notes: list[str]
) -> Iterator[AddedToken]:
    """Added tokens with the ids that the tokenizers library gives them, whatever tokenizer.json says.

    A text of the vocabulary keeps its id there, any other gets the next free one. Behind those of tokenizer.json come
    those that the configuration alone names. Raises ConversionError for one beyond the embeddings that is needed.
    """
    declared = declared_tokens(checkpoint)
    spare = {text for text, name in declared.items() if not is_needed(name)}
    configured = {token.text: token for token, _ in _configured(checkpoint, declared)}
    latest, seen = len(ids) - 1, set[str]()
    for listed in added:
        token = replace(configured.get(listed.text, listed), id=listed.id)  # its flags go first
        seen.add(token.text)
        if token.id >= table.size and token.text in _OTHER_SENSES:
            notes.append(f"token {token.text} has no embedding and is left out")
            continue
        if token.text not in spare:
            table.require(token.id, token.text)
        real = ids.get(token.text, latest + 1)
        latest = max(latest, real)
        if real >= table.size and token.text in spare:
            notes.append(f"token {token.text!r} has no embedding and is left out")
            continue
        table.require(real, token.text)
        if real != token.id:
            notes.append(f"added token {token.text!r} is listed as {token.id}; it has id {real}, as in transformers")
        yield replace(token, id=real)
    for token, name in _configured(checkpoint, declared):
        if token.text in seen or token.text in ids:
            continue
        latest += 1
        if latest < table.size:
            notes.append(f"{name} {token.text!r} is not in the tokenizer; it has id {latest}, as in transformers")
            yield replace(token, id=latest)
        elif not is_needed(name):
            notes.append(f"{name} {token.text!r} is not in the tokenizer and has no embedding; it is left out")
        else:
            table.require(latest, token.text)


def _configured(checkpoint: Checkpoint, declared: Mapping[str, str]) -> Iterator[tuple[AddedToken, str]]:
    """The tokens of tokenizer_config.json in the order in which transformers adds them, and what names them."""
    listed = _listed_in_config(checkpoint.folder)
    if (checkpoint.json("tokenizer_config.json") or {}).get("added_tokens_decoder") is None:
        plain = _listed_in_added_tokens(checkpoint.folder)
        listed = [replace(token, special=token.text in declared) for token in plain]
    listed.sort(key=lambda token: token.id)
    yield from ((token, "added token") for token in listed)
    known = {token.text for token in listed}
    yield from ((AddedToken(-1, text, special=True), name) for text, name in declared.items() if text not in known)


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
    checkpoint: Checkpoint,
    tokenizer: Mapping[str, Any],
    index: Mapping[str, int],
    special: dict[str, int],
    notes: list[str],
) -> tuple[bool, bool]:
    """Whether BOS is put before a text and EOS behind it.

    The post-processor of tokenizer.json decides, as in transformers; without such a file tokenizer_config.json does.
    """
    config = checkpoint.json("tokenizer_config.json") or {}
    if not tokenizer:
        return tuple(config.get(f"add_{kind}_token") is True and kind in special for kind in ("bos", "eos"))  # type: ignore[return-value]
    flags = []
    for kind, tokens in zip(("bos", "eos"), _edges(tokenizer.get("post_processor"), index), strict=True):
        if len(tokens) == 1 and kind == "bos" and tokens[0] != special.get(kind, tokens[0]):
            text = next(text for text, token in index.items() if token == tokens[0])
            notes.append(f"the tokenizer puts {text!r} before a text, so it is the BOS")
        if len(tokens) == 1 and (kind == "bos" or kind not in special):
            special[kind] = tokens[0]
        if tokens and tokens != [special.get(kind)]:
            raise ConversionError(
                f"tokenizer.json: the post-processor adds tokens {tokens}, not the {kind} token alone"
            )
        stated = config.get(f"add_{kind}_token")
        if isinstance(stated, bool) and stated is not bool(tokens):
            does = "adds it" if tokens else "does not"
            flag = f"add_{kind}_token is {str(stated).lower()}"
            notes.append(f"{flag}, the post-processor of tokenizer.json {does}: it counts, as in transformers")
        flags.append(bool(tokens))
    return flags[0], flags[1]


def _edges(processor: Any, index: Mapping[str, int]) -> tuple[list[int], list[int]]:
    """The tokens that a post-processor puts before and behind a single text."""
    if processor is None:
        return [], []
    kind = processor.get("type") if isinstance(processor, dict) else processor
    if kind == "ByteLevel":
        return [], []
    before, after = list[int](), list[int]()
    if kind == "Sequence":
        for step in _list(processor, "processors"):
            more_before, more_after = _edges(step, index)
            before, after = more_before + before, after + more_after
        return before, after
    if kind != "TemplateProcessing":
        raise ConversionError(f"tokenizer.json: post_processor {kind!r:.80} is not supported")
    side = before
    for piece in _list(processor, "single"):
        if isinstance(piece, dict) and "Sequence" in piece:
            side = after
        else:
            side.extend(_ids_of(piece, processor, index))
    return before, after


def _ids_of(piece: Any, processor: Mapping[str, Any], index: Mapping[str, int]) -> list[int]:
    """The ids of one special token of a template, which may be several."""
    token = piece.get("SpecialToken") if isinstance(piece, dict) else None
    name = token.get("id") if isinstance(token, dict) else None
    table = processor.get("special_tokens")
    entry = table.get(name) if isinstance(table, dict) and isinstance(name, str) else None
    ids = entry.get("ids") if isinstance(entry, dict) else [index.get(name)] if isinstance(name, str) else None
    if not isinstance(ids, list) or not all(type(one) is int and 0 <= one < len(index) for one in ids):
        raise ConversionError(f"tokenizer.json: the post-processor adds {piece!r:.80}, which is not a token")
    return ids


def _list(values: Mapping[str, Any], key: str) -> list[Any]:
    value = values.get(key) or []
    if not isinstance(value, list):
        raise ConversionError(f"tokenizer.json: post_processor.{key} is not a list")
    return value
