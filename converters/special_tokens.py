"""Special tokens and the chat template, gathered from the several files a checkpoint keeps them in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge_wsd.errors import ConversionError

from .checkpoint import Checkpoint

_KINDS = ("bos", "eos", "unk", "pad")
# Texts by which checkpoints end a turn; llama.cpp ends a reply at its EOT as it does at its EOS.
_END_OF_TURN = ("<|eot_id|>", "<|im_end|>", "<end_of_turn>", "<|end|>")


def special_ids(checkpoint: Checkpoint, index: Mapping[str, int]) -> dict[str, int]:
    """Ids by kind ("bos", "eos", "unk", "pad", "eot"); kinds the checkpoint does not have are left out."""
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
    return found


def chat_template(checkpoint: Checkpoint) -> str | list[dict[str, str]] | None:
    """The chat template, or several by name; a template file goes before the tokenizer's configuration."""
    text = checkpoint.text("chat_template.jinja")
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
        value = (checkpoint.json(name) or {}).get(key)
        if isinstance(value, dict):
            value = value.get("content")
        if isinstance(value, str):
            return value
    return None


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
