"""A JSON schema becomes a grammar or is refused; nothing that it asks for is passed over."""

from __future__ import annotations

import itertools
import json
import re
from decimal import Decimal
from typing import Any

import pytest

from edge_wsd import Options
from edge_wsd.errors import OptionError
from edge_wsd.gbnf import check_grammar
from edge_wsd.json_schema.grammar import grammar_of_schema
from edge_wsd.json_schema.number_ranges import numbers, whole_numbers

REFUSED: dict[str, tuple[Any, str]] = {
    # The converter before this one passed these over, and wrote what is not valid.
    "not": ({"not": {"type": "string"}}, "'not'"),
    "different items": ({"type": "array", "uniqueItems": True}, "'uniqueItems'"),
    "multiples": ({"type": "integer", "multipleOf": 5}, "'multipleOf'"),
    "names by pattern": ({"type": "object", "patternProperties": {"^a": {}}}, "'patternProperties'"),
    "conditions": ({"if": {}, "then": {}}, "'if'"),
    "one of two that overlap": ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "use anyOf"),
    "a contradiction": ({"allOf": [{"type": "string"}, {"type": "integer"}]}, "allows nothing"),
    "nothing within bounds": ({"type": "integer", "minimum": 5, "maximum": 4}, "allows nothing"),
    "no length": ({"type": "string", "minLength": 5, "maxLength": 4}, "allows nothing"),
    "too few items": ({"type": "array", "minItems": 5, "maxItems": 4}, "allows nothing"),
    "what is false is required": ({"properties": {"a": False}, "required": ["a"]}, "allows nothing"),
    "itself": ({"$ref": "#"}, "without end"),
    "itself or null": ({"anyOf": [{"$ref": "#"}, {"type": "null"}]}, "without end"),
    "a type": ({"type": "nonsense"}, "'nonsense' under 'type'"),
    "no types": ({"type": []}, "under 'type'"),
    "a type that is an object": ({"type": [{}]}, "under 'type'"),
    "properties": ({"properties": []}, "under 'properties'"),
    "required": ({"required": "a"}, "under 'required'"),
    "enum": ({"enum": []}, "under 'enum'"),
    "a bound": ({"minimum": "3"}, "under 'minimum'"),
    "an infinite bound": ({"minimum": 1e999}, "must be a JSON schema"),
    "an old exclusive bound": ({"minimum": 0, "exclusiveMinimum": True}, "under 'exclusiveMinimum'"),
    "a length": ({"minLength": -1}, "under 'minLength'"),
    "items": ({"items": 5}, "5 where a schema is expected"),
    "a reference": ({"$ref": 5}, "under '$ref'"),
    "a missing reference": ({"$ref": "#/$defs/x"}, "does not exist"),
    "another's": ({"$ref": "https://example.com/x"}, "refer only to itself"),
    "a broken pattern": ({"pattern": "("}, "not a regular expression"),
    "a look ahead": ({"pattern": "^(?=a)b$"}, "a lookahead"),
    "a group again": ({"pattern": "^(a)\\1$"}, "a reference to a group"),
    "flags": ({"pattern": "(?i)a"}, "flags"),
    "a boundary": ({"pattern": "^a\\b c$"}, "an anchor"),
    "a pattern of any length": ({"pattern": "^(ab)+c$", "maxLength": 5}, "a length limit besides"),
    "a long text": ({"type": "string", "minLength": 5000}, "too large"),
    "a deep one": ({"const": 1}, ""),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_grammar_can_hold_is_one_clear_line(name: str) -> None:
    schema, told = REFUSED[name]
    if name == "a deep one":
        for _ in range(400):
            schema = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
        told = "nests too deeply"
    with pytest.raises(OptionError, match=r"^json_schema ") as caught:
        Options(json_schema=schema)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 200


def test_a_text_is_read_as_a_file_has_it() -> None:
    """A mark at its beginning ended in a traceback, once a reply was asked for."""
    assert Options(json_schema='\ufeff{"type": "null"}').json_schema is not None
    with pytest.raises(OptionError, match="JSON cannot represent"):
        Options(json_schema='{"enum": [NaN]}')


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array", "items": {"type": "null"}, "maxItems": 1_000_000},
        {"type": "string", "maxLength": 100_000},
        {"type": "number", "minimum": 1e-300, "maximum": 1e300},
        {"type": "integer", "minimum": 10**40},
        {"enum": [f"word{i}" for i in range(3000)]},
        {"type": "object", "properties": {f"p{i}": {"type": "null"} for i in range(300)}, "additionalProperties": True},
    ],
)
def test_a_large_schema_makes_a_grammar_that_llama_cpp_can_hold(schema: dict[str, Any]) -> None:
    check_grammar(grammar_of_schema(json.dumps(schema)))


def as_expression(grammar: str) -> re.Pattern[str]:
    """Alternatives of digits as a regular expression."""
    text = grammar.replace('"-"', "-").replace('"."', r"\.")
    return re.compile(f"(?:{text.replace(chr(34), '').replace(' ', '')})\\Z")


def test_whole_numbers_are_those_within_the_bounds() -> None:
    """Bounds used to be passed over."""
    bounds = (-205, -100, -99, -10, -1, 0, 1, 7, 9, 10, 19, 99, 100, 101, 345)
    for low, high in itertools.combinations_with_replacement(bounds, 2):
        grammar = whole_numbers(low, high)
        assert grammar is not None
        allowed = as_expression(grammar)
        for number in range(-400, 400):
            assert bool(allowed.match(str(number))) == (low <= number <= high), (low, high, number)
    assert whole_numbers(2, 1) is None
    below, from_ = whole_numbers(None, -3), whole_numbers(12, None)
    assert below is not None and from_ is not None
    for number in (*range(-50, 50), 10**9, -(10**9)):
        assert bool(as_expression(below).match(str(number))) == (number <= -3)
        assert bool(as_expression(from_).match(str(number))) == (number >= 12)


@pytest.mark.parametrize("above", [False, True])
@pytest.mark.parametrize("below", [False, True])
def test_numbers_never_leave_their_bounds(above: bool, below: bool) -> None:
    bounds = [Decimal(text) for text in ("-12.5", "-1", "-0.25", "0", "0.1", "0.5", "1", "1.75", "3", "10.01")]
    texts = [f"{Decimal(n) / 1000:.{places}f}" for n in range(-13000, 11000, 7) for places in (0, 1, 2, 3)]
    for low, high in itertools.combinations(bounds, 2):
        grammar = numbers(low, high, above=above, below=below)
        assert grammar is not None
        allowed = as_expression(grammar)
        found = [Decimal(text) for text in texts if allowed.match(text)]
        assert all(
            (low < each if above else low <= each) and (each < high if below else each <= high) for each in found
        )
        assert len({*found}) > 5
        assert bool(allowed.match(str(low))) == (not above) and bool(allowed.match(str(high))) == (not below)


def test_a_schema_and_a_grammar_exclude_each_other() -> None:
    with pytest.raises(OptionError, match="give one of the two"):
        Options(grammar='root ::= "a"', json_schema={})
