"""The `general.*` metadata: what a checkpoint says about itself in its folder name and model card."""

from __future__ import annotations

from typing import Any

from .folder import Checkpoint
from .json_files import read_card

_FENCE = "---"


def describe_model(writer: Any, checkpoint: Checkpoint) -> None:
    """Writes the model's type, name, licence, tags and languages as far as they are known."""
    card = read_front_matter(read_card(checkpoint.folder))
    writer.add_type("model")
    writer.add_name(_name(checkpoint, card))
    for key, add in (
        ("license", writer.add_license),
        ("license_name", writer.add_license_name),
        ("license_link", writer.add_license_link),
    ):
        if card.get(key):
            add(", ".join(card[key]))
    if card.get("tags"):
        writer.add_tags(card["tags"])
    if card.get("language"):
        writer.add_languages(card["language"])


def _name(checkpoint: Checkpoint, card: dict[str, list[str]]) -> str:
    stated = card.get("model_name")
    return stated[0] if stated else checkpoint.folder.resolve().name


def read_front_matter(text: str) -> dict[str, list[str]]:
    """The top-level scalars and lists of scalars of a model card's header; anything nested is passed over."""
    lines = text.splitlines()
    if not lines or lines[0].strip() != _FENCE:
        return {}
    found: dict[str, list[str]] = {}
    key = ""
    for line in lines[1:]:
        if line.strip() == _FENCE:
            return found
        if line[:1] not in ("", " ", "#", "-") and ":" in line:
            key, _, value = line.partition(":")
            value = value.strip()
            if value.startswith("[") and value.endswith("]"):
                found[key] = [item for item in map(_unquoted, value[1:-1].split(",")) if item]
            elif value and value not in ("|", ">", "null"):
                found[key] = [_unquoted(value)]
        elif line.strip().startswith("- ") and key:
            item = line.strip()[2:].strip()
            if ": " not in item:
                found.setdefault(key, []).append(_unquoted(item))
    return {}


def _unquoted(value: str) -> str:
    return value.strip().strip("'\"")
