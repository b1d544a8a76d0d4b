"""The grammar of a JSON schema, in GBNF. It allows only what is valid under the schema, but not all of that.

>>> Options(json_schema={"type": "object", "properties": {"n": {"type": "integer", "minimum": 0}}, "required": ["n"]})

Properties come in the order of the schema, and others only if `additionalProperties` asks for them. White space is
limited, or a model could write it for ever. A keyword that no grammar can express is refused, never ignored.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from decimal import Decimal
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

from edge_wsd.checks import shown
from edge_wsd.errors import OptionError
from edge_wsd.gbnf import check_grammar
from edge_wsd.json_schema.apart import are_apart
from edge_wsd.json_schema.merging import OF_TYPE, Schema, asserted, flat, kind_of, types_of
from edge_wsd.json_schema.number_ranges import NUMBER, first_whole, numbers, whole_numbers
from edge_wsd.json_schema.strings import (
    CHARACTER,
    FORMATS,
    is_found,
    literal,
    of_format,
    of_length,
    other_than,
    pattern,
    repeated,
)
from edge_wsd.reading import parse_json

_FIXED = {
    "space": r'| " " | "\n" [ \t]{0,20}',
    "character": CHARACTER,
    "string": of_length(0, None, "character"),
    "number": NUMBER,
    "boolean": '"true" | "false"',
    "null": '"null"',
    "member": 'string ":" space any',
    "object": '"{" space (member ("," space member)*)? space "}"',
    "array": '"[" space (any ("," space any)*)? space "]"',
    "any": "object | array | string | number | boolean | null",
}
_MOST_RULES = 10_000


@lru_cache(maxsize=32)
def grammar_of_schema(text: str) -> str:
    """The GBNF text of a JSON schema. Raises `OptionError` if it is no schema or no grammar can express it."""
    schema: Any = parse_json(text)
    try:
        builder = _Builder(schema)
        root = builder.value(schema)
        if root is None:
            raise OptionError("json_schema allows nothing: its requirements contradict each other")
        rules = {"root": root, **_FIXED, **builder.rules}
        grammar = "\n".join(f"{name} ::= {body}" for name, body in rules.items())
        check_grammar(grammar)
    except RecursionError:
        raise OptionError("json_schema nests too deeply, or refers to itself without end") from None
    except OptionError as error:
        cause = str(error)
        if "can begin with itself" in cause:
            cause = "json_schema refers to itself without end"
        elif cause.startswith("grammar must"):
            cause = f"json_schema needs a grammar that is too large: {cause.rpartition(': ')[2]}"
        raise OptionError(cause) from None
    return grammar


class _Builder:
    """The rules of one schema. If nothing is valid, an expression is None."""

    def __init__(self, schema: Any) -> None:
        self.rules: dict[str, str] = {}
        self._schema = schema
        self._names: dict[str, str] = {}  # by what they stand for
        self._references: dict[str, str] = {}

    def rule(self, body: str) -> str:
        """The name of a rule with this body; made if there is none."""
        if re.fullmatch(r"[a-z0-9-]+", body):
            return body
        if body not in self._names:
            self._names[body] = self._reserve(body)
        return self._names[body]

    def _reserve(self, body: str) -> str:
        name = f"r{len(self.rules)}"
        if len(self.rules) >= _MOST_RULES:
            raise OptionError(f"json_schema needs more than {_MOST_RULES} rules")
        self.rules[name] = body
        return name

    def either(self, alternatives: Iterable[str | None]) -> str | None:
        found = list(dict.fromkeys(each for each in alternatives if each is not None))
        return self.rule(" | ".join(found)) if found else None

    # Schemas

    def value(self, schema: Any) -> str | None:
        """The rule for what is valid under this schema."""
        if schema is True:
            return "any"
        if schema is False:
            return None
        own = asserted(schema)
        if list(own) == ["$ref"]:
            return self._reference(own["$ref"])
        whole = flat(own, self.resolve)
        if whole is None:
            return None
        for key in ("anyOf", "oneOf"):
            if key in whole:
                return self._alternatives(key, whole)
        if "const" in whole or "enum" in whole:
            return self.either(_as_json(each) for each in self._values(whole))
        return self.either(self._of_type(name, whole) for name in _possible_types(whole))

    def _reference(self, reference: str) -> str:
        if reference not in self._references:
            target = self.resolve(reference)
            self._references[reference] = name = self._reserve("")
            body = self.value(target)
            if body is None:
                raise OptionError(f"json_schema allows nothing at {reference}")
            self.rules[name] = body
        return self._references[reference]

    def resolve(self, reference: str) -> Any:
        """The schema at a reference such as `#/$defs/name`."""
        if reference != "#" and not reference.startswith("#/"):
            raise OptionError(f"json_schema must refer only to itself, as #/$defs/name, not to {shown(reference)}")
        found = self._schema
        for part in unquote(reference).split("/")[1:]:
            key = part.replace("~1", "/").replace("~0", "~")
            try:
                found = found[int(key) if isinstance(found, list) else key]
            except (KeyError, IndexError, TypeError, ValueError):
                raise OptionError(f"json_schema refers to {shown(reference)}, which does not exist") from None
        return found

    def _alternatives(self, key: str, whole: Schema) -> str | None:
        rest = {name: value for name, value in whole.items() if name != key}
        parts = [{"allOf": [rest, each]} if rest else each for each in whole[key]]
        if key == "oneOf":
            for i, one in enumerate(parts):
                for j, other in enumerate(parts[:i]):
                    if not are_apart(one, other, self.resolve):
                        raise OptionError(
                            f"json_schema has a oneOf whose alternatives {j + 1} and {i + 1} may both hold, which no "
                            "grammar can prevent; use anyOf"
                        )
        return self.either(self.value(part) for part in parts)

    def _values(self, whole: Schema) -> list[Any]:
        """The values of const and enum that the other keywords allow."""
        values = whole.get("enum", [whole.get("const")])
        if "const" in whole:
            values = [whole["const"]] if whole["const"] in values else []
        types = _possible_types(whole)
        return [each for each in values if any(_is(each, name) for name in types) and _fits(each, whole)]

    def _of_type(self, name: str, whole: Schema) -> str | None:
        if name == "object":
            return self._object(whole)
        if name == "array":
            return self._array(whole)
        if name == "string":
            return self._string(whole)
        if name in ("integer", "number"):
            return self._number(name, whole)
        return name

    def _number(self, name: str, whole: Schema) -> str | None:
        low, high = _bounds(whole)
        above, below = _excludes(whole, "exclusiveMinimum", low), _excludes(whole, "exclusiveMaximum", high)
        if name == "number":
            found = numbers(low, high, above=above, below=below)
        else:
            first = None if low is None else first_whole(low, above=above)
            last = None if high is None else -first_whole(high.copy_negate(), above=below)
            found = whole_numbers(first, last)
        return None if found is None else self.rule(found)

    def _string(self, whole: Schema) -> str | None:
        low, high = whole.get("minLength"), whole.get("maxLength")
        if high is not None and high < (low or 0):
            return None
        if "pattern" in whole:
            return self.rule(pattern(whole["pattern"], low, high))
        if whole.get("format") in FORMATS and low is None and high is None:
            return self.rule(of_format(whole["format"]))
        if low is None and high is None:
            return "string"
        return self.rule(of_length(int(low or 0), None if high is None else int(high), "character"))

    def _array(self, whole: Schema) -> str | None:
        low = int(whole.get("minItems", 0))
        high = None if "maxItems" not in whole else int(whole["maxItems"])
        first = whole.get("prefixItems", [])[:high]
        rest = self.value(whole.get("items", True))
        items = [self.value(each) for each in first]
        if None in items:
            items = items[: items.index(None)]
            rest = None
        fewest, most = max(0, low - len(items)), None if high is None else high - len(items)
        if rest is None or (first and "items" not in whole):  # no more than must be
            most = fewest
        if (most is not None and most < fewest) or (rest is None and fewest):
            return None
        parts = [each for each in items if each is not None]
        more = ""
        if rest is not None and most != 0:
            if not parts:
                tail = repeated(f'("," space {rest})', max(0, fewest - 1), None if most is None else most - 1)
                more = f"({rest} {tail}){'' if fewest else '?'}"
            else:
                more = repeated(f'("," space {rest})', fewest, most)
        listed = ' "," space '.join(parts)
        return self.rule(f'"[" space {listed} {more} space "]"')

    # Objects

    def _object(self, whole: Schema) -> str | None:
        properties = dict(whole.get("properties", {}))
        others = whole.get("additionalProperties", not ("properties" in whole or "required" in whole))
        required = set(whole.get("required", ()))
        for name in whole.get("required", ()):
            properties.setdefault(name, whole.get("additionalProperties", True))
        members: dict[str, str] = {}
        for name, schema in properties.items():
            each = self.value(schema)
            if each is not None:
                members[name] = self.rule(f'{_as_json(name)} ":" space {each}')
            elif name in required:
                return None
        other = None if others is False else self.value(others)
        if other is not None:
            key = other_than(list(properties), self.rule) if properties else "string"
            other = self.rule(f'{key} ":" space {other}')
        fewest, most = int(whole.get("minProperties", 0)), whole.get("maxProperties")
        if members or other is None:
            possible = len(members) if other is None else None
            if fewest > len(required) or (most is not None and (possible is None or possible > most)):
                raise OptionError("json_schema has minProperties or maxProperties, which no grammar can express here")
            return self.rule(f'"{{" space {self._members(members, required, other)} space "}}"')
        if fewest > 1:  # the same property may come twice
            raise OptionError("json_schema has minProperties above 1, which no grammar can express")
        if most == 0:
            return self.rule('"{" space "}"')
        tail = repeated(f'("," space {other})', 0, None if most is None else int(most) - 1)
        return self.rule(f'"{{" space ({other} {tail}){"" if fewest else "?"} space "}}"')

    def _members(self, members: dict[str, str], required: set[str], other: str | None) -> str:
        """All members in order, with commas between them; members that are not required may be missing."""
        tail = "" if other is None else f'("," space {other})*'
        firsts: list[str] = [] if other is None else [f"{other} {tail}"]
        can_be_empty = True
        for name in reversed(members):
            each = members[name]
            first = f"{each} {tail}".strip()
            if name in required:
                firsts, can_be_empty = [first], False
                tail = f'"," space {each} {tail}'
            else:
                firsts.insert(0, first)
                tail = f'("," space {each})? {tail}'
            tail = self.rule(tail.strip())
        if not firsts:
            return ""
        return f"({' | '.join(firsts)}){'?' if can_be_empty else ''}"


def _as_json(value: Any) -> str:
    """A value as a literal of GBNF."""
    try:
        return literal(json.dumps(value, ensure_ascii=False, allow_nan=False))
    except ValueError:
        raise OptionError(f"json_schema has {shown(value)}, which JSON cannot represent") from None


def _possible_types(whole: Schema) -> list[str]:
    """The types given; else those that the keywords are about, or all."""
    if "type" in whole:
        names = types_of(whole["type"])
        return [name for name in names if name != "integer" or "number" not in names]
    if "const" in whole or "enum" in whole:
        return ["object", "array", "string", "number", "boolean", "null"]
    named = [name for name, keys in OF_TYPE.items() if not keys.isdisjoint(whole)]
    return named or ["object", "array", "string", "number", "boolean", "null"]


def _is(value: Any, name: str) -> bool:
    kind = kind_of(value)
    return kind == name or (kind == "number" and name == "integer" and value == int(value))


def _fits(value: Any, whole: Schema) -> bool:
    """Whether a given value is valid under the other keywords as well."""
    kind = kind_of(value)
    if kind == "string":
        length = whole.get("minLength", 0) <= len(value) <= whole.get("maxLength", len(value))
        return length and ("pattern" not in whole or is_found(whole["pattern"], value))
    if kind == "number":
        low, high = _bounds(whole)
        exact = Decimal(repr(value))
        return (low is None or exact > low or (exact == low and not _excludes(whole, "exclusiveMinimum", low))) and (
            high is None or exact < high or (exact == high and not _excludes(whole, "exclusiveMaximum", high))
        )
    if kind in ("object", "array") and not OF_TYPE[kind].isdisjoint(whole):
        raise OptionError(f"json_schema has both a value, {shown(value)}, and keywords that describe one")
    return True


def _bounds(whole: Schema) -> tuple[Decimal | None, Decimal | None]:
    lows = [Decimal(repr(whole[key])) for key in ("minimum", "exclusiveMinimum") if key in whole]
    highs = [Decimal(repr(whole[key])) for key in ("maximum", "exclusiveMaximum") if key in whole]
    return max(lows, default=None), min(highs, default=None)


def _excludes(whole: Schema, key: str, bound: Decimal | None) -> bool:
    return key in whole and Decimal(repr(whole[key])) == bound
