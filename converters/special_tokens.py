"""Special tokens and the chat template, gathered from the several files a checkpoint keeps them in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from edge_wsd.errors import ConversionError

from .checkpoint import Checkpoint
from .vocabulary import CONTROL, NORMAL, UNUSED, TokenTable

_KINDS = ("bos", "eos", "unk", "pad")
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
    for kind in _KINDS:
        text = _stated_text(checkpoint, f"{kind}_token")
        if text is not None and text not in index:
            raise ConversionError(f"the {kind} token {text!r} is not in the tokenizer's vocabulary")
        token = index[text] if text is not None else _first(_stated_ids(checkpoint, f"{kind}_token_id"))
        if token is not None:
            if not 0 <= token < len(index):
                raise ConversionError(f"the {kind} token has id {token}, outside the vocabulary of {len(index)}")
            found[kind] = token
    eot = _end_of_turn(checkpoint, index, found.get("eos"))
    if eot is not None:
        found["eot"] = eot
    for kind, texts in _BY_TEXT.items():
        by_text = [index[text] for text in texts if text in index]
        if by_text:
            found[kind] = by_text[0]
    return found


def mark_special(checkpoint: Checkpoint, table: TokenTable, index: Mapping[str, int]) -> None:
    """Makes control tokens of ordinary ones that the configuration names as BOS, EOS or further special tokens."""
    config = checkpoint.json("tokenizer_config.json") or {}
    named = [_stated_text(checkpoint, f"{kind}_token") for kind in _KINDS if kind != "pad"]
    for key in ("additional_special_tokens", "extra_special_tokens"):
        listed = config.get(key)
        named += [_content(item) for item in listed] if isinstance(listed, list) else []
    for text in named:
        token = index.get(text) if text else None
        if token is not None and len(text or "") > 1 and table.types[token] == NORMAL:
            table.types[token] = CONTROL


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


def _stated_text(checkpoint: Checkpoint, key: str) -> str | None:
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        value = _content((checkpoint.json(name) or {}).get(key))
        if value is not None:
            return value
    return None


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
