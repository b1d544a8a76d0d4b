"""JSON strings as GBNF: of a length, of a format, of a regular expression. Only valid strings are allowed.

>>> pattern("^[a-z]+$", None, None)
'"\\\\"" [a-z]+ "\\\\""'
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from edge_wsd.errors import OptionError

try:  # the parser of `re` itself, so a pattern has the same meaning as there
    from re import _parser as parser  # type: ignore[attr-defined]
except ImportError:  # Python 3.10
    import sre_parse as parser

QUOTE = r'"\""'
_HEX = "[0-9A-Fa-f]"
# No halves of surrogate pairs: those are not text.
CHARACTER = (
    r'[^"\\\x00-\x1F\x7F] | "\\" (["\\/bfnrt] | '
    rf'"u" ([0-9ABCEFabcef] {_HEX}{{3}} | [Dd] [0-7] {_HEX}{{2}}))'
)
_MOST_TIMES = 1900
"""Close to llama.cpp's own limit. A larger maximum is lowered to this."""

_YEAR = "[1-9] [0-9]{3}"
_DAY = (
    '(("0" [13578] | "1" [02]) "-" ("0" [1-9] | [12] [0-9] | "3" [01]) '
    '| ("0" [469] | "11") "-" ("0" [1-9] | [12] [0-9] | "30") | "02-" ("0" [1-9] | "1" [0-9] | "2" [0-8]))'
)
_HOUR = '([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9]'
_TIME = f'{_HOUR} ":" [0-5] [0-9] ("." [0-9]{{1,6}})? ("Z" | [-+] {_HOUR})'
_BYTE = '("25" [0-5] | "2" [0-4] [0-9] | "1" [0-9] [0-9] | [1-9]? [0-9])'
_LABEL = "[a-z0-9] ([-a-z0-9]{0,30} [a-z0-9])?"
FORMATS = {
    "date": f'{_YEAR} "-" {_DAY}',
    "time": _TIME,
    "date-time": f'{_YEAR} "-" {_DAY} "T" {_TIME}',
    "uuid": ' "-" '.join(f"{_HEX}{{{n}}}" for n in (8, 4, 4, 4, 12)),
    "ipv4": ' "." '.join([_BYTE] * 4),
    "hostname": f'{_LABEL} ("." {_LABEL}){{1,3}}',
    "email": f'[A-Za-z0-9] ([-+_A-Za-z0-9]{{0,30}} [A-Za-z0-9])? "@" {_LABEL} ("." {_LABEL}){{1,3}}',
}
"""Other formats only describe a string, according to the specification."""

Ranges = list[tuple[int, int]]
"""Ranges of characters, first and last, in order."""

_LAST = 0x10FFFF
_ESCAPED = {0x22: '\\"', 0x5C: "\\\\", 8: "\\b", 9: "\\t", 10: "\\n", 12: "\\f", 13: "\\r"}
_CLASSES: dict[str, Ranges] = {
    "DIGIT": [(0x30, 0x39)],
    "WORD": [(0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A)],
    "SPACE": [(9, 10), (12, 13), (32, 32)],
}
"""In ASCII only, where all dialects agree."""


def of_length(low: int, high: int | None, character: str) -> str:
    """A string that repeats the rule `character` `low` to `high` times."""
    return f"{QUOTE} {repeated(character, low, high)} {QUOTE}"


def repeated(part: str, low: int, high: int | None) -> str:
    if high is not None:
        high = max(low, min(high, _MOST_TIMES))
    if high == 0:
        return '""'
    times = {(0, None): "*", (1, None): "+", (0, 1): "?", (1, 1): ""}
    bounds = f"{{{low}}}" if low == high else f"{{{low},{'' if high is None else high}}}"
    return part + times.get((low, high), bounds)


def of_format(name: str) -> str:
    return f"{QUOTE} {FORMATS[name]} {QUOTE}"


def pattern(text: str, low: int | None, high: int | None, character: str = f"({CHARACTER})") -> str:
    """A string of `low` to `high` characters in which the expression is found.

    Raises `OptionError` for what no grammar can express, such as lookahead.
    """
    tree = _parsed(text)
    unknown = tree.state.flags & ~re.UNICODE
    writer = _Writer(text)
    branches = _branches(list(tree))
    if unknown:
        raise writer.refusal("flags")
    if low is not None or high is not None:
        branches = [_of_length(writer, branch, low or 0, high) for branch in branches]
    return f"{QUOTE} ({' | '.join(writer.anchored(branch, character) for branch in branches)}) {QUOTE}"


def is_found(text: str, value: str) -> bool:
    """Whether the expression is found in a string. Raises `OptionError` if it is not a regular expression."""
    _parsed(text)
    return re.search(text, value) is not None


def _parsed(text: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what may mean something else in later versions
            return parser.parse(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise OptionError(
            f"json_schema has a pattern that is not a regular expression: {text!r:.60} ({error})"
        ) from None


def _branches(parts: list[Any]) -> list[list[Any]]:
    """The branches of an expression that is a choice, each with its own anchors."""
    if parts and str(parts[-1][0]) == "BRANCH":
        return [parts[:-1] + list(branch) for branch in parts[-1][1][1]]
    return [parts]


def _of_length(writer: _Writer, branch: list[Any], low: int, high: int | None) -> list[Any]:
    """The same expression if its length is sure to fit; one that repeats a single thing gets other bounds."""
    ends = [str(part[1]) for part in (*branch[:1], *branch[-1:]) if str(part[0]) == "AT"]
    inner = branch[1:-1]
    if len(ends) == 2 and len(branch) > 1:
        shortest, longest = (sum(sizes) for sizes in zip((0, 0), *map(_width, inner), strict=True))
        if shortest >= low and (high is None or longest <= high):
            return branch
        if len(inner) == 1 and str(inner[0][0]) in ("MAX_REPEAT", "MIN_REPEAT"):
            kind, (least, most, what) = inner[0]
            if len(what) == 1 and _width(what[0]) == (1, 1):
                least, most = max(int(least), low), min(int(most), high if high is not None else int(most))
                if least <= most:
                    return [branch[0], (kind, (least, most, what)), branch[-1]]
    raise writer.refusal("a length limit besides; put the limit into the pattern")


def _is_anchor(part: Any, name: str) -> bool:
    return str(part[0]) == "AT" and str(part[1]) in (name, f"{name}_STRING")


def _width(part: Any) -> tuple[int, int]:
    """Fewest and most characters."""
    kind, value = str(part[0]), part[1]
    if kind == "AT":
        return 0, 0
    if kind in ("MAX_REPEAT", "MIN_REPEAT"):
        least, most, what = value
        shortest, longest = (sum(sizes) for sizes in zip((0, 0), *map(_width, what), strict=True))
        return shortest * int(least), longest * int(most)
    if kind == "SUBPATTERN":
        shortest, longest = (sum(sizes) for sizes in zip((0, 0), *map(_width, value[3]), strict=True))
        return shortest, longest
    if kind == "BRANCH":
        each = [[_width(part) for part in branch] for branch in value[1]]
        return min(sum(a for a, _ in sizes) for sizes in each), max(sum(b for _, b in sizes) for sizes in each)
    return 1, 1


class _Writer:
    """Writes one parsed expression as GBNF."""

    def __init__(self, text: str) -> None:
        self._text = text

    def refusal(self, what: str) -> OptionError:
        return OptionError(f"json_schema has a pattern that no grammar can express: {self._text!r:.60} has {what}")

    def anchored(self, parts: list[Any], character: str) -> str:
        begins = bool(parts) and _is_anchor(parts[0], "AT_BEGINNING")
        ends = len(parts) > begins and _is_anchor(parts[-1], "AT_END")
        inner = self.sequence(parts[begins : len(parts) - ends])
        around = f"{character}*"
        return " ".join(part for part in ("" if begins else around, inner, "" if ends else around) if part) or '""'

    def sequence(self, parts: Iterable[Any]) -> str:
        return " ".join(self.part(str(kind), value) for kind, value in parts)

    def part(self, kind: str, value: Any) -> str:
        if kind == "LITERAL":
            return self.characters([(value, value)])
        if kind == "NOT_LITERAL":
            return self.characters(_without([(value, value)]))
        if kind == "ANY":
            return self.characters(_without([(10, 10), (13, 13)]))
        if kind == "IN":
            return self.characters(self.members(value))
        if kind == "SUBPATTERN":
            _, added, dropped, inner = value
            if added or dropped:
                raise self.refusal("flags")
            return f"({self.sequence(inner)})"
        if kind == "BRANCH":
            return f"({' | '.join(self.sequence(branch) for branch in value[1])})"
        if kind in ("MAX_REPEAT", "MIN_REPEAT"):
            least, most, inner = value
            open_end = str(most) == "MAXREPEAT"
            return repeated(f"({self.sequence(inner)})", int(least), None if open_end else int(most))
        names = {"AT": "an anchor or a word boundary inside", "ASSERT": "a lookahead or lookbehind",
                 "ASSERT_NOT": "a lookahead or lookbehind", "GROUPREF": "a reference to a group"}  # fmt: skip
        raise self.refusal(names.get(kind, kind.lower()))

    def members(self, value: Sequence[Any]) -> Ranges:
        negated = bool(value) and str(value[0][0]) == "NEGATE"
        found: Ranges = []
        for kind, each in value[negated:]:
            if str(kind) == "LITERAL":
                found.append((each, each))
            elif str(kind) == "RANGE":
                found.append(each)
            else:
                found += self.category(str(each), wide=negated)
        return _without(found) if negated else found

    def category(self, name: str, *, wide: bool) -> Ranges:
        """`wide`: the category is excluded from a class, and must exclude enough."""
        negated, kind = "NOT_" in name, name.rpartition("_")[2]
        if wide and negated:
            raise self.refusal("a negated class inside another")
        ranges = _CLASSES[kind]
        if wide:
            return [*ranges, (0x80, _LAST)]
        return [(low, min(high, 0x7F)) for low, high in _without(ranges) if low < 0x80] if negated else ranges

    def characters(self, ranges: Ranges) -> str:
        """One of these characters, as written in a JSON string."""
        special = [(code, code) for code in (*range(0x20), 0x22, 0x5C, 0x7F)]
        left_out = _without(ranges)
        escaped = [
            literal(_ESCAPED.get(code, f"\\u{code:04x}"))
            for code, _ in special
            if not any(low <= code <= high for low, high in left_out)
        ]
        plain = "".join(
            _code(low) if low == high else f"{_code(low)}-{_code(high)}"
            for low, high in _without([*left_out, *special, (0xD800, 0xDFFF)])
        )
        if not plain and not escaped:
            raise self.refusal("a class without characters")
        parts = ([f"[{plain}]"] if plain else []) + escaped
        return parts[0] if len(parts) == 1 else f"({' | '.join(parts)})"


def _without(ranges: Ranges) -> Ranges:
    """All characters but these."""
    found: Ranges = []
    start = 0
    for low, high in sorted(ranges):
        if low > start:
            found.append((start, low - 1))
        start = max(start, high + 1)
    if start <= _LAST:
        found.append((start, _LAST))
    return found


def _code(code: int) -> str:
    character = chr(code)
    if code < 0x80 and character.isalnum():
        return character
    return f"\\x{code:02X}" if code < 0x100 else f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}"


def literal(text: str) -> str:
    """A text as a literal of GBNF."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    return f'"{escaped}"'


def other_than(names: Sequence[str], add_rule: Callable[[str], str]) -> str:
    """A key that is none of these names. It begins without escapes, which could spell one of them."""
    tree: dict[str, Any] = {}
    for name in names:
        if all(0x20 <= ord(each) != 0x7F and each not in '"\\' for each in name):
            node = tree
            for each in name:
                node = node.setdefault(each, {})
            node[""] = {}
    return f"{QUOTE} {_unlike(tree, add_rule)} {QUOTE}"


def _unlike(tree: dict[str, Any], add_rule: Callable[[str], str]) -> str:
    """Every continuation that does not end at a name."""
    first = "".join(_code(ord(each)) for each in tree if each)
    parts = [f'[^"\\\\\\x00-\\x1F\\x7F{first}] character*']
    parts += [f"{literal(each)} {_unlike(rest, add_rule)}" for each, rest in tree.items() if each]
    if "" not in tree:
        parts.append('""')
    return add_rule(" | ".join(parts))
