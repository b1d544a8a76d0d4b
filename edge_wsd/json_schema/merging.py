"""Merges a schema with everything that applies together with it: references and `allOf`.

>>> merged({"type": "integer", "minimum": 0}, {"maximum": 9})
{'type': 'integer', 'minimum': 0, 'maximum': 9}
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from edge_wsd.checks import shown
from edge_wsd.errors import OptionError

Schema = dict[str, Any]

TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")
_LARGER = frozenset(("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"))
_SMALLER = frozenset(("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"))
OF_TYPE = {
    "object": frozenset(("properties", "required", "additionalProperties", "minProperties", "maxProperties")),
    "array": frozenset(("items", "prefixItems", "minItems", "maxItems")),
    "string": frozenset(("pattern", "minLength", "maxLength", "format")),
    "number": frozenset(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")),
}
_SIZES = {key for key in _LARGER | _SMALLER if key.startswith(("min", "max"))} - OF_TYPE["number"]
_LISTS = frozenset(("enum", "anyOf", "oneOf", "allOf", "prefixItems"))
_KNOWN = frozenset().union(*OF_TYPE.values()) | _LISTS | {"type", "const", "$ref"}
_IMPOSSIBLE = frozenset(
    (
        "not", "if", "then", "else", "dependencies", "dependentRequired", "dependentSchemas", "patternProperties",
        "propertyNames", "uniqueItems", "multipleOf", "contains", "minContains", "maxContains", "$dynamicRef",
        "$recursiveRef",
    )
)  # fmt: skip
"""Keywords that no grammar can express. All others only describe, according to the specification."""
_MOST_PARTS = 1000


def asserted(schema: Any) -> Schema:
    """The keywords that decide what is valid. Raises `OptionError` for one that is wrong or cannot be expressed."""
    if not isinstance(schema, dict):
        raise OptionError(f"json_schema has {shown(schema)} where a schema is expected: an object, true or false")
    for key, value in schema.items():
        if key in _IMPOSSIBLE and value is not False:
            raise OptionError(
                f"json_schema has {key!r}, which no grammar can express; leave it out, and check the result"
            )
    found = {key: value for key, value in schema.items() if key in _KNOWN}
    if isinstance(found.get("items"), list):  # the form used before 2020
        found["prefixItems"] = found.pop("items")
        if "additionalItems" in schema:
            found["items"] = schema["additionalItems"]
    for key, value in found.items():
        _check(key, value)
    return found


def _check(key: str, value: Any) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if key in _SIZES:
        expected, holds = "a whole number, 0 or more", is_number and value == int(value) and value >= 0
    elif key in OF_TYPE["number"]:
        expected, holds = "a number", is_number
    elif key in _LISTS:
        expected, holds = "a non-empty list", isinstance(value, list) and bool(value)
    elif key == "required":
        expected = "a list of names"
        holds = isinstance(value, list) and all(isinstance(each, str) for each in value)
    elif key == "properties":
        expected, holds = "an object", isinstance(value, dict)
    elif key in ("pattern", "format", "$ref"):
        expected, holds = "a text", isinstance(value, str)
    elif key == "type":
        names = value if isinstance(value, list) else [value]
        expected, holds = f"one of {', '.join(TYPES)}, or a list of them", all(name in TYPES for name in names)
        holds = holds and bool(names)
    else:
        return
    if not holds:
        raise OptionError(f"json_schema has {shown(value)} under {key!r}; expected {expected}")


def flat(schema: Schema, resolve: Callable[[str], Any]) -> Schema | None:
    """The schema without `$ref` and `allOf`; None if nothing is valid."""
    whole: Schema = {}
    todo: list[Any] = [schema]
    n_parts = 0
    while todo:
        part = todo.pop(0)
        n_parts += 1
        if n_parts > _MOST_PARTS:
            raise OptionError("json_schema refers to itself without end")
        if part is False:
            return None
        if part is True:
            continue
        part = asserted(part)
        if "$ref" in part:
            todo.append(resolve(part.pop("$ref")))
        todo += part.pop("allOf", ())
        both = merged(whole, part)
        if both is None:
            return None
        whole = both
    return whole


def merged(one: Schema, other: Schema) -> Schema | None:
    """A schema for what is valid under both; None if nothing is."""
    of_lists = [not OF_TYPE["array"].isdisjoint(side) for side in (one, other)]
    if all(of_lists) and any("prefixItems" in side for side in (one, other)):
        raise OptionError(
            "json_schema has prefixItems and another schema for the same list, which no grammar can express"
        )
    whole = dict(one)
    for key, value in other.items():
        if key not in one or one[key] == value:
            whole[key] = value
        elif key in _LARGER:
            whole[key] = max(one[key], value)
        elif key in _SMALLER:
            whole[key] = min(one[key], value)
        elif key == "required":
            whole[key] = [*one[key], *value]
        elif key == "type":
            whole[key] = _types(one[key], value)
        elif key == "enum":
            whole[key] = [each for each in one[key] if each in value]
        elif key in ("additionalProperties", "items"):
            whole[key] = {"allOf": [one[key], value]}
        elif key in ("anyOf", "oneOf"):
            whole[key] = [{"allOf": [first, second]} for first in one[key] for second in value]
        elif key == "const":
            return None
        elif key != "properties":
            raise OptionError(f"json_schema has {key!r} twice for one value, which no grammar can express")
    if "properties" in (*one, *other):
        whole["properties"] = _properties(one, other)
    return whole


def _properties(one: Schema, other: Schema) -> Schema:
    """What one side says about properties that it does not name applies to those that the other side names."""
    first, second = one.get("properties", {}), other.get("properties", {})
    whole: Schema = {}
    for name in dict.fromkeys([*first, *second]):
        parts = [side.get("properties", {}).get(name, side.get("additionalProperties", True)) for side in (one, other)]
        parts = [part for part in parts if part is not True]
        whole[name] = parts[0] if len(parts) == 1 else {"allOf": parts} if parts else True
    return whole


def _types(one: Any, other: Any) -> list[str]:
    first, second = types_of(one), types_of(other)
    found = [each for each in first if each in second]
    if ("integer" in first and "number" in second) or ("number" in first and "integer" in second):
        found.append("integer")
    return list(dict.fromkeys(found))


def types_of(given: Any) -> list[str]:
    return given if isinstance(given, list) else [given]


def kind_of(value: Any) -> str:
    """The type of a value; whole numbers are numbers."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else "boolean"
    for kind, name in ((dict, "object"), (list, "array"), (str, "string")):
        if isinstance(value, kind):
            return name
    return "number"
