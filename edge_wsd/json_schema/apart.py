"""Whether no value that the grammar allows can be valid under two schemas at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edge_wsd.json_schema.merging import OF_TYPE, Schema, flat, kind_of, types_of

Resolve = Callable[[str], Any]
_UNFOLDED = ("anyOf", "oneOf")
_DEEPEST = 2
"""How deeply nested objects are compared; they may contain themselves."""


def are_apart(one: Any, other: Any, resolve: Resolve, depth: int = 0) -> bool:
    """Whether the two exclude each other; False if that cannot be decided."""
    firsts, seconds = _cases(one, resolve), _cases(other, resolve)
    return all(_apart(first, second, resolve, depth) for first in firsts for second in seconds)


def _cases(schema: Any, resolve: Resolve) -> list[Schema]:
    """The alternatives of a schema, with no alternatives left inside."""
    if schema is True:
        return [{}]
    whole = None if schema is False else flat(schema, resolve)
    if whole is None:
        return []
    for key in _UNFOLDED:
        if key in whole:
            rest = {name: value for name, value in whole.items() if name != key}
            return [case for each in whole[key] for case in _cases({"allOf": [rest, each]}, resolve)]
    return [whole]


def _apart(one: Schema, other: Schema, resolve: Resolve, depth: int) -> bool:
    if _kinds(one).isdisjoint(_kinds(other)):
        return True
    first, second = _values(one), _values(other)
    if first is not None and second is not None:
        return not any(each in second for each in first)
    if depth == _DEEPEST or _kinds(one) & _kinds(other) != {"object"}:
        return False
    if not _is_valid_by(one, other) and not _is_valid_by(other, one):
        return True
    shared = set(one.get("required", ())) & set(other.get("required", ()))
    mine, yours = one.get("properties", {}), other.get("properties", {})
    return any(are_apart(mine.get(name, True), yours.get(name, True), resolve, depth + 1) for name in sorted(shared))


def _kinds(schema: Schema) -> set[str]:
    """The types that it allows; whole numbers are numbers."""
    values = _values(schema)
    if values is not None:
        return {kind_of(each) for each in values}
    if "type" in schema:
        return {"number" if name == "integer" else name for name in types_of(schema["type"])}
    return {name for name, keys in OF_TYPE.items() if not keys.isdisjoint(schema)} or {*OF_TYPE, "boolean", "null"}


def _values(schema: Schema) -> list[Any] | None:
    return [schema["const"]] if "const" in schema else schema.get("enum")


def _is_valid_by(one: Schema, other: Schema) -> bool:
    """Whether an object written for `one` can have the properties that `other` requires, and no others."""
    named = {*one.get("properties", ()), *one.get("required", ())}
    is_closed = bool(named) and one.get("additionalProperties", False) is False
    has_all = not is_closed or named.issuperset(other.get("required", ()))
    has_too_many = other.get("additionalProperties") is False and not set(one.get("required", ())) <= set(
        other.get("properties", ())
    )
    return has_all and not has_too_many
