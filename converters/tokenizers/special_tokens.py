"""Special tokens and the chat template, gathered from the several files a checkpoint keeps them in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from edge_wsd.errors import ConversionError

from ..checkpoint.folder import Checkpoint
from .vocabulary import CONTROL, NORMAL, UNUSED, USER_DEFINED, TokenTable

_KINDS = ("bos", "eos", "unk", "pad")
# In this order transformers adds those that the vocabulary lacks.
_NAMES = tuple(f"{kind}_token" for kind in ("bos", "eos", "unk", "sep", "pad", "cls", "mask"))
_MORE = ("extra_special_tokens", "additional_special_tokens")
# Texts by which checkpoints end a turn; llama.cpp ends a reply at its EOT as it does at its EOS.
_END_OF_TURN = ("<|eot_id|>", "<|im_end|>", "<end_of_turn>", "<|end|>")
# Further texts at which llama.cpp ends a reply by itself.
_ENDS = frozenset({*_END_OF_TURN, "<|endoftext|>", "</s>", "<|eom_id|>", "<EOT>", "<|end_of_text|>", "<eos>"})
# What llama.cpp calls the tokens around a gap to be filled, and their texts in the families that have them.
_BY_TEXT: Mapping[str, tuple[str, ...]] = {
    "eom": ("<|eom_id|>",),
    "fim_pre": ("<|fim_prefix|>", "<fim_prefix>", "<｜fim▁begin｜>", "▁<PRE>", "<PRE>"),
    "fim_suf": ("<|fim_suffix|>", "<fim_suffix>", "<｜fim▁hole｜>", "▁<SUF>", "<SUF>"),
    "fim_mid": ("<|fim_middle|>", "<fim_middle>", "<｜fim▁end｜>", "▁<MID>", "<MID>"),
    "fim_pad": ("<|fim_pad|>", "<fim_pad>"),
    "fim_rep": ("<|repo_name|>", "<reponame>"),
    "fim_sep": ("<|file_sep|>",),
}
_TEMPLATES = "additional_chat_templates"


def special_ids(checkpoint: Checkpoint, index: Mapping[str, int]) -> dict[str, int]:
    """Ids by kind ("bos", "eos", "unk", "pad", "eot", ...); kinds the checkpoint does not have are left out."""
    found = {}
    declared = _declarations(checkpoint)
    for kind in _KINDS:
        text = _content(declared.get(f"{kind}_token"))
        token = index.get(text) if text else None
        if token is None:
            token = _first(_stated_ids(checkpoint, f"{kind}_token_id"))
        if token is not None:
            if token < len(index):
                found[kind] = token
            elif is_needed(f"{kind}_token"):
                raise ConversionError(f"the {kind} token has id {token}, outside the vocabulary of {len(index)}")
    eot = _end_of_turn(checkpoint, index, found.get("eos"))
    if eot is not None:
        found["eot"] = eot
    for kind, texts in _BY_TEXT.items():
        by_text = [index[text] for text in texts if text in index]
        if by_text:
            found[kind] = by_text[0]
    return found


def declared_tokens(checkpoint: Checkpoint) -> dict[str, str]:
    """Texts of the tokens that the configuration names, with the names, in the order in which transformers adds them.

    Transformers keeps each of them whole, whether the vocabulary has it or not.
    """
    declared = _declarations(checkpoint)
    named = {name: declared.get(name) for name in _NAMES}
    named |= {key: value for key, value in declared.items() if key.endswith("_token") and key not in named}
    listed = next((declared[key] for key in _MORE if declared.get(key)), ())
    if isinstance(listed, dict):
        named |= listed
    elif isinstance(listed, list):
        named |= {f"{_MORE[0]} {number}": value for number, value in enumerate(listed, 1)}
    found: dict[str, str] = {}
    for name, value in named.items():
        text = _content(value)
        if text:
            found.setdefault(text, name)
    return found


def is_needed(name: str) -> bool:
    """Whether a model without this token is none: padding and the like stand in no prompt and no answer."""
    return name in ("bos_token", "eos_token")


def mark_special(checkpoint: Checkpoint, table: TokenTable, index: Mapping[str, int]) -> None:
    """Makes whole tokens of ordinary ones that the configuration names: they are never a part of another.

    One character is left visible, as "!" is, with which some pad.
    """
    for text in declared_tokens(checkpoint):
        token = index.get(text)
        if token is not None and table.types[token] == NORMAL:
            table.types[token] = CONTROL if len(text) > 1 else USER_DEFINED


def default_ends(table: TokenTable, special: dict[str, int]) -> Iterator[str]:
    """Without a BOS or EOS llama.cpp takes token 11 of a byte-level vocabulary: gives it a harmless one instead."""
    if "eos" not in special:
        spare = [table.types.index(kind) for kind in (CONTROL, UNUSED) if kind in table.types]
        token = special.get("eot", special.get("bos", _first(spare)))
        if token is None:
            return
        special["eos"] = token
        yield f"the checkpoint names no EOS: {table.tokens[token]!r} is taken for it"
    special.setdefault("bos", special["eos"])


def stop_notes(checkpoint: Checkpoint, table: TokenTable, special: Mapping[str, int]) -> Iterator[str]:
    """A sentence for each token at which the checkpoint stops and llama.cpp will not."""
    known = {special.get(kind) for kind in ("eos", "eot", "eom")}
    for token in _stated_ids(checkpoint, "eos_token_id"):
        if token < table.size and token not in known and table.tokens[token] not in _ENDS:
            yield f"the checkpoint also stops at token {token}, {table.tokens[token]!r}; llama.cpp will not"


def chat_template(checkpoint: Checkpoint) -> str | list[dict[str, str]] | None:
    """The chat template, or several by name; template files go before the tokenizer's configuration."""
    text = checkpoint.text("chat_template.jinja")
    more = sorted(checkpoint.folder.glob(f"{_TEMPLATES}/*.jinja"))
    if more:
        named = [{"name": path.stem, "template": checkpoint.text(f"{_TEMPLATES}/{path.name}") or ""} for path in more]
        return [*([{"name": "default", "template": text}] if text is not None else []), *named]
    if text is not None:
        return text
    for name in ("tokenizer_config.json", "chat_template.json"):
        value = (checkpoint.json(name) or {}).get("chat_template")
        if isinstance(value, list) and all(_is_named_template(item) for item in value):
            return value
        if value is not None and not isinstance(value, str):
            raise ConversionError(f"{name}: chat_template is neither text nor a list of named templates")
        if value:
            return value
    return None


def _is_named_template(item: Any) -> bool:
    return isinstance(item, dict) and all(isinstance(item.get(key), str) for key in ("name", "template"))


def _declarations(checkpoint: Checkpoint) -> Mapping[str, Any]:
    """tokenizer_config.json; where it lists no added tokens, special_tokens_map.json goes before it."""
    declared, more = (checkpoint.json(name) or {} for name in ("tokenizer_config.json", "special_tokens_map.json"))
    tokenizer = checkpoint.json("tokenizer.json")
    if tokenizer is None:
        return {**more, **declared}
    if declared.get("added_tokens_decoder") is None:
        declared = {**declared, **more}
    padding = tokenizer.get("padding")
    return {"pad_token": padding.get("pad_token"), **declared} if isinstance(padding, dict) else declared


def _content(value: Any) -> str | None:
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) else None


def _stated_ids(checkpoint: Checkpoint, key: str) -> list[int]:
    """All ids of a kind that generation_config.json and config.json name, in order."""
    ids: list[int] = []
    for name in ("generation_config.json", "config.json"):
        value = (checkpoint.json(name) or {}).get(key)
        # A negative id is an old way of writing "none".
        for item in value if isinstance(value, list) else [value]:
            if type(item) is int and item >= 0 and item not in ids:
                ids.append(item)
    return ids


def _first(ids: list[int]) -> int | None:
    return ids[0] if ids else None


def _end_of_turn(checkpoint: Checkpoint, index: Mapping[str, int], eos: int | None) -> int | None:
    """A second token at which generation stops, known by its text where there are several."""
    stated = _stated_ids(checkpoint, "eos_token_id")
    others = [token for token in stated if token != eos and token < len(index)]
    if not others:
        return None
    # Where EOS itself ends turns it is the EOT as well; the rest are ends of text, which llama.cpp knows.
    known = [index[text] for text in _END_OF_TURN if index.get(text) in (eos, *others)]
    return known[0] if known else others[0]
