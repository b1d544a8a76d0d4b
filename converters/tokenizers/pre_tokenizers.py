"""Which of llama.cpp's pre-tokenizers does what a tokenizer.json asks for: one table of definitions.

A definition is compared by what it does: the patterns that cut a text one after the other, however it spells them.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Any

from .pre_tokenizer_names import require_known

_CASE_NOTE = (
    "llama.cpp tells upper from lower case in ASCII letters only: mixed case and combining marks of other "
    "scripts may split differently; edge-wsd verify counts how often"
)


@dataclass(frozen=True)
class PreTokenizer:
    """`name` is llama.cpp's; `ignores_merges` says that it looks up whole words before it merges.

    `note` says where llama.cpp only comes near the definition.
    """

    name: str
    definition: Any
    ignores_merges: bool = False
    note: str | None = None


def _byte_level(use_regex: bool) -> dict[str, Any]:
    return {"type": "ByteLevel", "add_prefix_space": False, "use_regex": use_regex}


def _split(regex: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}


def _sequence(*steps: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Sequence", "pretokenizers": list(steps)}


def _splits(*regexes: str) -> dict[str, Any]:
    return _sequence(*map(_split, regexes), _byte_level(False))


_SUFFIXES = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WHITE = r"\s+(?!\S)|\s+"
_DIGITS: dict[str, Any] = {"type": "Digits", "individual_digits": True}
# What a byte-level step cuts by itself.
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|" + _WHITE


def _words(digits: str, letters: str = r"\p{L}", others: str = r"[^\s\p{L}\p{N}]") -> str:
    """The family of split patterns that began with cl100k."""
    return rf"{_SUFFIXES}|[^\r\n\p{{L}}\p{{N}}]?{letters}+|{digits}| ?{others}+[\r\n]*|\s*[\r\n]+|{_WHITE}"


def _cased_words(suffixes: str, digits: str) -> str:
    """The family that began with o200k: a word ends where small letters are followed by capitals."""
    upper, lower = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
    front = r"[^\r\n\p{L}\p{N}]?"
    return (
        f"{front}{upper}*{lower}+{suffixes}|{front}{upper}+{lower}*{suffixes}|{digits}"
        rf"| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|\s*[\r\n]+|{_WHITE}"
    )


_CJK = "[一-龥ࠀ-一가-퟿]+"
_LATIN_TO_ADLAM = (
    r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-"
    "\u1f7dᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-\u1fd3ῖ-\u1fdbῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ\u2126ℨ\u212a-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-"
    "ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+"
)
_DEEPSEEK_3 = (
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
    rf"| ?[\p{{P}}\p{{S}}]+[\r\n]*|\s*[\r\n]+|{_WHITE}"
)
_SEED = rf"{_SUFFIXES}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1}}| ?[^\s\p{{L}}\p{{N}}\r\n]+|\s*[\r\n]+|{_WHITE}"

# Of two that do the same the first is taken, or the one that treats merges as the tokenizer does.
KNOWN: tuple[PreTokenizer, ...] = (
    PreTokenizer("gpt-2", _byte_level(True)),
    PreTokenizer("llama-bpe", _splits(_words(r"\p{N}{1,3}")), True),
    PreTokenizer("dbrx", _splits(_words(r"\p{N}{1,3}"))),
    PreTokenizer("qwen2", _splits(_words(r"\p{N}"))),
    PreTokenizer("qwen35", _splits(_words(r"\p{N}", r"[\p{L}\p{M}]", r"[^\s\p{L}\p{M}\p{N}]"))),
    PreTokenizer("smollm", _sequence(_DIGITS, _byte_level(True))),
    PreTokenizer("tekken", _splits(_cased_words("", r"\p{N}")), True, _CASE_NOTE),
    PreTokenizer("gpt-4o", _splits(_cased_words(f"{_SUFFIXES}?", r"\p{N}{1,3}")), note=_CASE_NOTE),
    PreTokenizer(
        "deepseek-llm",
        _sequence(
            *map(_split, (r"[\r\n]", _LATIN_TO_ADLAM, r"\s?[!-/:-~！-／：-～‘-‟　-。]+", r"\s+$", _CJK)),
            _DIGITS, _byte_level(False),
        ),
    ),
    PreTokenizer(
        "deepseek-coder",
        _sequence(*map(_split, (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _CJK)), _DIGITS, _byte_level(False)),
    ),
    PreTokenizer("deepseek-v3", _splits(r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", _DEEPSEEK_3)),
    PreTokenizer("seed-coder", _splits(_SEED)),
)  # fmt: skip
NAMES: tuple[str, ...] = tuple(known.name for known in KNOWN)
_COVERING = frozenset({_GPT2, *(_words(digits) for digits in (r"\p{N}", r"\p{N}{1,3}"))}) | frozenset(
    {_cased_words("", r"\p{N}"), _cased_words(f"{_SUFFIXES}?", r"\p{N}{1,3}")}
)


def recognise(definition: Any, ignores_merges: bool = False) -> PreTokenizer | None:
    """The entry that cuts text as `definition` of a tokenizer.json does; None where there is none."""
    wanted = patterns(definition)
    same = [known for known in KNOWN if wanted is not None and patterns(known.definition) == wanted]
    return next((known for known in same if known.ignores_merges == ignores_merges), same[0] if same else None)


def named(name: str) -> PreTokenizer:
    """An entry by llama.cpp's name; one outside the table is taken on the user's word.

    Raises ConversionError for a name that llama.cpp does not know.
    """
    require_known(name)
    return next((known for known in KNOWN if known.name == name), PreTokenizer(name, None))


def patterns(definition: Any) -> tuple[str, ...] | None:
    """The patterns that cut a text in turn, the bytes being spelled last; None if it is anything else."""
    if not isinstance(definition, dict):
        return None
    if definition.get("type") != "Sequence":
        return _last_step(definition)
    steps = definition.get("pretokenizers")
    if not isinstance(steps, list) or not steps:
        return None
    cuts = [*map(_cut, steps[:-1]), patterns(steps[-1])]
    return None if None in cuts else tuple(pattern for cut in cuts for pattern in cut or ())


def _last_step(step: dict[str, Any]) -> tuple[str, ...] | None:
    # The key is missing in old files, which always cut; without add_prefix_space there is a space.
    if step.get("type") != "ByteLevel" or step.get("add_prefix_space", True) is not False:
        return None
    return (_GPT2,) if step.get("use_regex", True) else ()


def _cut(step: Any) -> tuple[str, ...] | None:
    if not isinstance(step, dict):
        return None
    if step.get("type") == "Digits" and isinstance(step.get("individual_digits"), bool):
        return (r"\p{N}" if step["individual_digits"] else r"\p{N}+",)
    pattern = step.get("pattern")
    if step.get("type") != "Split" or not isinstance(pattern, dict) or not isinstance(pattern.get("Regex"), str):
        return None
    # Published definitions differ in how they write line breaks and in look-alikes that NFC makes one.
    regex = unicodedata.normalize("NFC", pattern["Regex"]).replace("\r", r"\r").replace("\n", r"\n")
    # Where a pattern leaves no gaps, keeping the matches is the same as cutting at them.
    ways = {("Isolated", False)} | ({("Removed", True)} if regex in _COVERING else set())
    return (regex,) if (step.get("behavior"), step.get("invert", False)) in ways else None
