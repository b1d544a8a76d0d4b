"""Calls of tools in the forms of Hermes, Mistral and Llama 3, however the answer is cut into pieces."""

import json

import pytest

from edge_wsd.errors import TemplateError
from edge_wsd.prompts.messages import Message, parse_messages
from edge_wsd.prompts.plain_template import PlainTemplate
from edge_wsd.prompts.tool_calls import ToolCallReader
from edge_wsd.prompts.tools import Tool, ToolCall, parse_tools

HERMES = '<tool_call>\n{"name": "weather", "arguments": {"city": "Köln"}}\n</tool_call>'
WEATHER = ("weather", {"city": "Köln"})


def read(text, names=("weather", "now"), size=None):
    """What the reader makes of `text` in pieces of `size` characters: texts joined, calls as name and arguments."""
    reader = ToolCallReader(names)
    size = size or max(1, len(text))
    found = [part for at in range(0, len(text), size) for part in reader.feed(text[at : at + size])] + reader.end()
    parts = []
    for part in found:
        if isinstance(part, ToolCall):
            parts.append((part.name, part.arguments))
        elif parts and isinstance(parts[-1], str):
            parts[-1] += part
        else:
            parts.append(part)
    return parts


CASES = [
    (HERMES, [WEATHER]),
    (f"Let me look.\n\n{HERMES}\n{HERMES}\n", ["Let me look.", WEATHER, WEATHER]),
    (HERMES.removesuffix("\n</tool_call>"), [WEATHER]),  # a stop string took the end
    ('[TOOL_CALLS] [{"name": "weather", "arguments": {"city": "Köln"}}]', [WEATHER]),
    ('[TOOL_CALLS]weather[ARGS]{"city": "Köln"}[TOOL_CALLS]now[ARGS]{}', [WEATHER, ("now", {})]),
    ('[TOOL_CALLS]weather{"city": "Köln"}', [WEATHER]),
    ('{"name": "weather", "parameters": {"city": "Köln"}}', [WEATHER]),
    ('<|python_tag|>{"name": "weather", "parameters": {"city": "Köln"}}; {"name": "now"}', [WEATHER, ("now", {})]),
    (' [{"name": "weather", "arguments": "{\\"city\\": \\"Köln\\"}"}]', [WEATHER]),
    ('{"name": "weather", "parameters": {"city": "Köln"}}\n\nThat is all.', [WEATHER, "\n\nThat is all."]),
]
TEXTS = [
    "",
    "  \n ",
    "  No tool is needed.\n\n",
    '{"name": "fork", "arguments": {}}',  # there is no such tool
    '{"answer": 42}',
    "{ not JSON",
    "[1, 2, 3] is a list",
    "[TOOL_ and <tool_ca are beginnings <",
    "a \n<tool_call>oops</tool_call> b",
    "a\n[TOOL_CALLS] [",
    '<tool_call>{"name": "rm -rf", "arguments": {}}</tool_call>',
    '<tool_call>{"name": "now", "arguments": 7}</tool_call>',
    'The call would be {"name": "now", "arguments": {}}',
    "<tool_call>" + "[" * 100_000,
]


@pytest.mark.parametrize("size", [None, 1, 3, 7])
@pytest.mark.parametrize(("text", "expected"), CASES)
def test_calls_are_read_in_every_form_and_in_any_pieces(text, expected, size):
    assert read(text, size=size) == expected


@pytest.mark.parametrize("size", [None, 1, 5])
@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_what_is_no_call_stays_the_text_that_it_was(text, size):
    assert "".join(read(text, size=size if len(text) < 1000 else None)) == text


def test_text_is_passed_on_before_the_answer_ends():
    reader = ToolCallReader(["now"])
    assert reader.feed("Hello wor") == ["Hello wor"]
    assert reader.feed("ld <tool") == ["ld"]
    assert reader.feed("s>") == [" <tools>"]
    reader.feed('<tool_call>{"name": "now"}')
    (call,) = reader.feed("</tool_call>")
    assert (call.name, dict(call.arguments)) == ("now", {})


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize(
    "text",
    [f"{HERMES}\n{HERMES} and more", '[TOOL_CALLS]weather[ARGS]{"city": "Köln"}[TOOL_CALLS]now[ARGS]{} and more'],
)
def test_what_follows_the_most_calls_is_dropped(text, size):
    reader = ToolCallReader(["weather", "now"], most=1)
    found = [part for at in range(0, len(text), size) for part in reader.feed(text[at : at + size])] + reader.end()
    (call,) = found
    assert (call.name, call.arguments) == WEATHER


def test_each_call_has_an_id_of_its_own_as_mistral_wants_it():
    reader = ToolCallReader(["weather"])
    ids = [call.id for call in reader.feed(HERMES * 20)]
    assert len(set(ids)) == 20
    assert all(len(each) == 9 and each.isalnum() for each in ids)


def test_messages_with_calls_and_answers_are_read_as_clients_send_them():
    call = {"id": "c1", "type": "function", "function": {"name": "now", "arguments": '{"zone": "UTC"}'}}
    given = [
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "12:00", "tool_call_id": "c1"},
    ]
    asked, answered = parse_messages(given)
    assert asked == Message("assistant", "", (ToolCall("now", {"zone": "UTC"}, "c1"),))
    assert answered == Message("tool", "12:00", tool_call_id="c1")
    assert parse_messages([asked.as_dict(), answered.as_dict()]) == (asked, answered)
    assert Message("user", "hi").as_dict() == {"role": "user", "content": "hi"}


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"role": "user", "content": "", "tool_calls": []}, "unknown key 'tool_calls'"),
        ({"role": "tool", "content": ""}, "tool_call_id must name the call"),
        ({"role": "assistant", "content": "", "tool_calls": "now"}, "tool_calls must be a list"),
        ({"role": "assistant", "content": "", "tool_calls": [{"id": "1"}]}, "an object with id and function"),
        ({"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "a b"}}]}, "name of a tool"),
        (
            {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "a", "arguments": "{"}}]},
            "are not JSON",
        ),
        (
            {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "a", "arguments": "[1]"}}]},
            "must be an object",
        ),
    ],
)
def test_a_bad_call_is_named(message, reason):
    with pytest.raises(TemplateError, match=reason):
        parse_messages([message])


@pytest.mark.parametrize(
    ("tools", "reason"),
    [
        ("now", "tools must be a list"),
        ([{"type": "web_search"}], 'tool 1 must be an object of type "function"'),
        ([{"type": "function"}], "tool 1 has no function"),
        ([{"type": "function", "function": {"name": "so so"}}], "tool 1: the name of a tool"),
        ([{"function": {"name": "a", "parameters": []}}], "tool 1: the parameters of tool a"),
        ([{"function": {"name": "a", "parameters": {"x": float}}}], "tool 1: tool a must be made of JSON values"),
        ([{"function": {"name": "a", "description": "\ud800"}}], "tool 1: tool a holds half a character"),
    ],
)
def test_a_bad_tool_is_named_by_its_number(tools, reason):
    with pytest.raises(TemplateError, match=reason):
        parse_tools(tools)


def test_the_plain_template_shows_the_base_what_the_drafter_knows():
    call = ToolCall("now", {"zone": "UTC"}, "c1")
    shown = PlainTemplate().render(
        [Message("user", "Time?"), Message("assistant", "", (call,)), Message("tool", "12:00", tool_call_id="c1")],
        [Tool("now", "Tells the time.")],
    )
    tools, rest = shown.removeprefix("\n\n[Tools]\n").split("\n\n", maxsplit=1)
    assert json.loads(tools)["description"] == "Tells the time."
    called = '<tool_call>\n{"name": "now", "arguments": {"zone": "UTC"}}\n</tool_call>'
    assert rest == f"[User]\nTime?\n\n[Assistant]\n{called}\n\n[Tool]\n12:00\n\n[Assistant]\n"
