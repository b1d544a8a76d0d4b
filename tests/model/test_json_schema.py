"""What a schema's grammar lets through is valid JSON and valid by the schema, for llama.cpp's own sampler."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from edge_wsd import Options, Pair
from edge_wsd.errors import GrammarError
from edge_wsd.json_schema.grammar import grammar_of_schema
from edge_wsd.llama.grammar import Grammar
from edge_wsd.llama.sampler import Sampler
from edge_wsd.llama.settings import ModelSettings

OFF = {"temperature": 0.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "seed": 0}
NULL, WHOLE, TEXT = {"type": "null"}, {"type": "integer"}, {"type": "string"}


def closed(properties: dict[str, Any], required: list[str] | None = None, **more: Any) -> dict[str, Any]:
    names = list(properties) if required is None else required
    return {"type": "object", "properties": properties, "required": names, **more}


# A schema, texts that are valid, and texts that are not.
CASES: dict[str, tuple[Any, list[str], list[str]]] = {
    "bounds": (
        {"type": "integer", "minimum": -5, "maximum": 17},
        ["-5", "0", "17"],
        ["18", "-6", "05", "1.5", '"1"'],
    ),
    "open bounds": (
        {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
        ["0.5", "1", "1.0", "0.01"],
        ["0", "0.0", "1.1", "-0.5"],
    ),
    "values": (
        {"enum": ["é", 'a"b\\', 1, None, True, {"k": [1]}]},
        ['"é"', '"a\\"b\\\\"', "1", "null", "true", '{"k": [1]}'],
        ['"a"', "2", "false"],
    ),
    "values of a type": ({"type": "string", "enum": ["a", 1, "bb"], "maxLength": 1}, ['"a"'], ["1", '"bb"']),
    "a value": ({"const": "x"}, ['"x"'], ['"y"', "x"]),
    "optional properties": (
        closed({"a": NULL, "b": NULL, "c": NULL}, ["b"]),
        ['{"b": null}', '{"a":null,"b":null}', '{"b": null, "c": null}', '{"a": null,\n "b": null, "c": null}'],
        ["{}", '{"a": null}', '{"b": null,}', '{"a": null "b": null}', '{"b": null, "d": null}'],
    ),
    "all optional": (closed({"a": NULL, "b": NULL}, []), ["{}", '{"b": null}', '{"a": null, "b": null}'], ["{,}"]),
    # A name that is given must not come back as one of the others, with a value that it may not have.
    "other properties": (
        closed({"a": NULL, "ab": {"type": "boolean"}}, ["a"], additionalProperties=WHOLE),
        ['{"a": null, "x": 1}', '{"a": null, "ab": true, "abc": 3, "": 4}', '{"a": null}'],
        ['{"a": null, "ab": 1}', '{"a": null, "x": "1"}', '{"x": 1}', '{"a": null, "\\u0061b": 3}'],
    ),
    "a map": ({"type": "object", "additionalProperties": WHOLE}, ["{}", '{"a": 1, "b": 2}'], ['{"a": null}', "[]"]),
    "names of all kinds": (
        closed({"größe": NULL, "名前": NULL, 'a"b\\': NULL, "": NULL, "a b-c_d": NULL}),
        ['{"größe": null, "名前": null, "a\\"b\\\\": null, "": null, "a b-c_d": null}'],
        ['{"größe": null}'],
    ),
    "required alone": (closed({"a": NULL}, ["a", "zz"]), ['{"a": null, "zz": [1]}'], ['{"a": null}']),
    "a pattern": (
        {"type": "string", "pattern": "^\\d{3}-[A-Z]{2,4}(x|yz)?$"},
        ['"123-AB"', '"123-ABCDyz"'],
        ['"12-AB"', '"123-ABx3"', '"123-A"', "123-AB"],
    ),
    # It had to begin with ^ and end with $, and could hold quotes that end the string.
    "a pattern anywhere": ({"pattern": "ab+"}, ['"ab"', '"xxabbyy"'], ['"ba"', '"a"']),
    "any character": ({"pattern": "^.{2,3}$"}, ['"a\\""', '"é😀\\\\"'], ['"a"b"', '"a"', '"abcd"', '"ab\\n"']),
    "no quote": ({"pattern": "^[^a-z]$"}, ['"A"', '"\\""'], ['"a"', '"""']),
    "anchors of each side": ({"pattern": "^foo|bar$"}, ['"foox"', '"xbar"'], ['"xfoox"']),
    "a pattern and a length": (
        {"pattern": "^[a-z_]+$", "minLength": 2, "maxLength": 4},
        ['"ab"', '"a_cd"'],
        ['"a"', '"abcde"'],
    ),
    "a length": (
        {"type": "string", "minLength": 2, "maxLength": 3},
        ['"ab"', '"a\\"\\u00e9"', '"😀é"'],
        ['"a"', '"abcd"', '"a\\ud800"'],
    ),
    "a date": ({"type": "string", "format": "date"}, ['"2024-12-31"'], ['"2024-02-30"', '"2024-13-01"', '"24-1-1"']),
    "a time": ({"format": "date-time"}, ['"2024-12-31T23:59:59Z"', '"2024-01-01T00:00:00.5+02:00"'], ['"2024-12-31"']),
    "items": (
        {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 3},
        ["[true]", "[true, false,true]"],
        ["[]", "[true, true, true, true]", "[1]", "[true,]"],
    ),
    "no items": ({"type": "array", "maxItems": 0}, ["[]"], ["[1]"]),
    "first items": (
        {"type": "array", "prefixItems": [WHOLE, TEXT], "items": NULL, "maxItems": 3},
        ['[1, "a"]', '[1, "a", null]'],
        ['["a", 1]', '[1, "a", 2]', '[1, "a", null, null]'],
    ),
    "as it was before 2020": ({"items": [WHOLE], "additionalItems": False}, ["[1]"], ["[1, 2]", '["a"]']),
    "types": ({"type": ["string", "null"]}, ['"a"', "null"], ["1", "true"]),
    "either": ({"anyOf": [WHOLE, NULL, {"type": "array", "items": WHOLE}]}, ["1", "null", "[1]"], ['"a"', "[null]"]),
    "one by its kind": (
        {"oneOf": [closed({"kind": {"const": "cat"}, "n": WHOLE}), closed({"kind": {"const": "dog"}, "s": TEXT})]},
        ['{"kind": "cat", "n": 9}', '{"kind": "dog", "s": "x"}'],
        ['{"kind": "dog", "n": 9}', '{"kind": "cow"}'],
    ),
    # What stands beside anyOf, allOf and $ref was forgotten.
    "either of the required": (
        {"properties": {"a": WHOLE, "b": NULL}, "anyOf": [{"required": ["a"]}, {"required": ["b"]}]},
        ['{"a": 1}', '{"b": null}', '{"a": 1, "b": null}'],
        ["{}", '{"a": null}'],
    ),
    "all of them": (
        {"allOf": [closed({"a": WHOLE}), closed({"b": TEXT, "a": {"maximum": 3}}, ["b"])]},
        ['{"a": 1, "b": "x"}'],
        ['{"a": 4, "b": "x"}', '{"a": 1}'],
    ),
    "the narrowest bounds": (
        {"allOf": [{"type": "integer", "minimum": 3, "maximum": 9}, {"minimum": 5, "maximum": 12}]},
        ["5", "9"],
        ["3", "4", "10"],
    ),
    "beside a reference": (
        {"$defs": {"n": {"type": "integer", "minimum": 3}}, "$ref": "#/$defs/n", "maximum": 5},
        ["3", "5"],
        ["2", "6"],
    ),
    # Rules were named by the end of a reference: these became the rules of the grammar, or one another.
    "names that collide": (
        {
            "$defs": {"string": WHOLE, "a/b~c": {"type": "boolean"}, "x": {"string": TEXT}},
            "type": "object",
            "properties": {
                "x": {"$ref": "#/$defs/string"},
                "y": {"$ref": "#/$defs/a~1b~0c"},
                "z": {"$ref": "#/$defs/x/string"},
            },
            "required": ["x", "y", "z"],
        },
        ['{"x": 1, "y": true, "z": "s"}'],
        ['{"x": "1", "y": true, "z": "s"}', '{"x": 1, "y": true, "z": 1}'],
    ),
    "itself": (
        {
            "$defs": {"node": closed({"v": WHOLE, "next": {"anyOf": [{"$ref": "#/$defs/node"}, NULL]}})},
            "$ref": "#/$defs/node",
        },
        ['{"v": 1, "next": {"v": 2, "next": null}}'],
        ['{"v": 1, "next": 2}', '{"v": 1}'],
    ),
    "anything": ({}, ["1e5", '"a"', '{"a": [null, -0.5]}'], ["nul", "01"]),
}  # fmt: skip


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    one_thread = ModelSettings(threads=1)
    with Pair.demo(drafter_settings=one_thread, base_settings=one_thread) as pair:
        yield pair


def is_let_through(pair: Pair, grammar: str, text: str) -> bool:
    vocab = pair.base.model.vocab
    assert vocab.eos is not None
    sampler = Sampler(**OFF, grammar=Grammar(grammar, pair.base.model))
    try:
        for token in [*vocab.tokenize(text), vocab.eos]:
            sampler.accept(token)
    except GrammarError:
        return False
    finally:
        sampler.close()
    return True


@pytest.mark.parametrize("name", CASES)
def test_what_is_valid_is_let_through_and_nothing_else(pair: Pair, name: str) -> None:
    schema, valid, wrong = CASES[name]
    grammar = grammar_of_schema(json.dumps(schema))
    assert [text for text in valid if not is_let_through(pair, grammar, text)] == []
    assert [text for text in wrong if is_let_through(pair, grammar, text)] == []


def test_drawn_replies_are_json_within_the_schema(pair: Pair) -> None:
    schema = closed(
        {
            "id": {"type": "string", "pattern": "^[a-f0-9]{4}$"},
            "share": {"type": "number", "minimum": 0, "maximum": 1},
            "count": {"type": "integer", "minimum": 1, "maximum": 12},
            "tags": {"type": "array", "items": {"enum": ["new", "old"]}, "maxItems": 3},
            "note": {"type": ["string", "null"], "maxLength": 5},
        }
    )
    for seed, mode in enumerate(("wsd", "base", "drafter") * 3):
        options = Options(
            json_schema=schema, grammar_from="start", mode=mode, temperature=4.0, seed=seed, max_tokens=400
        )  # type: ignore[arg-type]
        reply = pair.generate("What is it?", options)
        assert reply.finish_reason == "stop"
        found = json.loads(reply.text)
        assert list(found) == ["id", "share", "count", "tags", "note"]
        assert re.fullmatch("[a-f0-9]{4}", found["id"])
        assert 0 <= found["share"] <= 1 and 1 <= found["count"] <= 12
        assert len(found["tags"]) <= 3 and set(found["tags"]) <= {"new", "old"}
        assert found["note"] is None or len(found["note"]) <= 5
