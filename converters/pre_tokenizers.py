"""Which of llama.cpp's pre-tokenizers does what a tokenizer.json asks for: one table of definitions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edge_wsd.errors import ConversionError


@dataclass(frozen=True)
class PreTokenizer:
    """`name` is llama.cpp's; `ignores_merges` says that it looks up whole words before it merges."""

    name: str
    definition: Any
    ignores_merges: bool = False


def _byte_level(use_regex: bool) -> dict[str, Any]:
    return {"type": "ByteLevel", "add_prefix_space": False, "use_regex": use_regex}


def _split(regex: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}


def _sequence(*steps: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Sequence", "pretokenizers": list(steps)}


def _words(digits: str) -> str:
    """The family of split patterns that began with cl100k; they differ in how many digits stay together."""
    return (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
        + digits
        + r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )


KNOWN: tuple[PreTokenizer, ...] = (
    PreTokenizer("gpt-2", _byte_level(True)),
    PreTokenizer("llama-bpe", _sequence(_split(_words(r"\p{N}{1,3}")), _byte_level(False)), True),
    PreTokenizer("qwen2", _sequence(_split(_words(r"\p{N}")), _byte_level(False))),
    PreTokenizer("smollm", _sequence({"type": "Digits", "individual_digits": True}, _byte_level(True))),
)
NAMES: tuple[str, ...] = tuple(known.name for known in KNOWN)


def recognise(definition: Any) -> PreTokenizer:
    """The entry whose definition equals that of a tokenizer.json. Raises ConversionError without one."""
    wanted = _canonical(definition)
    for known in KNOWN:
        if _canonical(known.definition) == wanted:
            return known
    raise ConversionError(
        f"tokenizer.json: pre_tokenizer {wanted!r:.200} is not recognised; known are {', '.join(NAMES)}. "
        "If one of llama.cpp's splits text the same way, name it with pre_tokenizer="
    )


def named(name: str) -> PreTokenizer:
    """An entry by llama.cpp's name. A name outside the table is taken on the user's word."""
    return next((known for known in KNOWN if known.name == name), PreTokenizer(name, None))


def _canonical(definition: Any) -> Any:
    """Without what does not change the split: offsets, and sequences of one step."""
    if isinstance(definition, list):
        return [_canonical(item) for item in definition]
    if not isinstance(definition, dict):
        return definition
    steps = definition.get("pretokenizers")
    if definition.get("type") == "Sequence" and isinstance(steps, list) and len(steps) == 1:
        return _canonical(steps[0])
    return {key: _canonical(value) for key, value in definition.items() if key != "trim_offsets"}
