"""What passes between an application and the process of its models: the same on both sides, and nothing else."""

import dataclasses
import math
import typing
from pathlib import Path

import pytest

from edge_wsd import ContextFullError, OptionError, Options, Token
from edge_wsd.asked import Asked, AskedText
from edge_wsd.isolation import messages
from edge_wsd.isolation.messages import Ask, Failed, PackedError, Told, decode, encode
from edge_wsd.llama.settings import ModelSettings
from edge_wsd.lookups import TokensOf
from edge_wsd.pair_settings import PairSettings
from edge_wsd.prompts.messages import Message
from edge_wsd.prompts.tools import Tool, ToolCall

SCHEMA = {"type": "object", "$type": "Options", "properties": {"a": {"enum": [1, [2], {"$type": "path"}]}}}


def parts_of(kind):
    """The types that a type is made of, all the way down."""
    found, left = set(), [kind]
    while left:
        one = left.pop()
        left += typing.get_args(one)
        if dataclasses.is_dataclass(one) and one not in found:
            found.add(one)
            left += typing.get_type_hints(one).values()
    return found


@pytest.mark.parametrize(
    "kind",
    [messages.Ask, messages.Cancel, messages.CloseModels, messages.Told, messages.Failed, messages.LogLine],
    ids=str,
)
def test_all_that_a_message_is_made_of_can_be_sent(kind):
    """A field of a new type would otherwise be found out by whoever isolates a pair."""
    assert parts_of(kind) <= messages._KINDS


@pytest.mark.parametrize(
    "message",
    [
        Told(3, Token(0, 5, "a\n\u2028", "base", -math.inf, None, b"\xff\x00")),
        Ask(1, AskedText((1, 2, 3), Options(logit_bias={7: -math.inf, "x": 1.5}, stop=("a", "b")))),
        Ask(
            2,
            Asked(
                None,
                (Message("assistant", "", (ToolCall("f", SCHEMA, "1"),)), Message("tool", "4", (), "1")),
                Options(json_schema={"const": [1, {"a": None}]}),
                (Tool("f", "what it does", SCHEMA),),
            ),
        ),
        Ask(
            0,
            messages.LoadModels(
                PairSettings("n", "d\udcff.gguf", "b", ModelSettings(threads=2), workers=("127.0.0.1:1",)),
                {"edge_wsd.a": 10},
            ),
        ),
        Told(0, messages.ModelsLoaded(None, messages.VocabularyVerdict("padded", "why", ("a",)), True, {})),
        Failed(1, PackedError("E", "text", {"needed": 1})),
        messages.LogLine("edge_wsd", 30, "100 %"),
        Ask(3, TokensOf("base", ("a\ud800", 5, "b"), special=True)),
        Told(3, (5, 7), is_last=True),
        Told(4, (b"\xff", b"")),
        (Path("/a/b"), None, True, 1.5),
    ],
    ids=lambda message: type(message).__name__,
)
def test_what_arrives_is_what_was_sent(message):
    assert decode(encode(message)) == message


def test_an_error_arrives_as_itself():
    error = PackedError.of(ContextFullError("too long", needed=9, available=4)).unpacked()
    assert type(error) is ContextFullError and (str(error), error.needed, error.available) == ("too long", 9, 4)
    other = PackedError.of(KeyError("x")).unpacked()
    assert type(other) is RuntimeError and str(other) == "KeyError: 'x'"


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"{", b"{}", b"[" * 10**5, b'{"$type": ["a"]}', b'{"$type": "Popen", "args": "ls"}'),
        *(b'{"$type": "Token"}', b'{"$type": "Options", "window": 0}'),
        *(b'{"$type": "bytes", "value": "zz"}', b'{"$type": "path", "value": 3}'),
    ],
)
def test_anything_else_is_refused(data):
    with pytest.raises(ValueError):
        decode(data)


def test_only_what_is_named_can_be_sent():
    with pytest.raises(OptionError, match="set is no part of a message"):
        encode({1, 2})


def test_what_can_be_sent_can_be_read_however_deep_it_nests():
    """Else one question ends the process for all others."""
    schema, n_levels = {"type": "string"}, 0
    while True:
        try:
            data = encode(Ask(1, Asked(None, (), Options(), (Tool("f", "", schema),))))
        except OptionError as error:
            assert "nests" in str(error) and n_levels > 40
            return
        decode(data)
        schema, n_levels = {"type": "array", "items": [schema]}, n_levels + 1
