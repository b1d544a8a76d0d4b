"""Tools in chat templates: what is shown, what transformers would show, and what no template shows."""

from __future__ import annotations

from datetime import datetime

import pytest

from edge_wsd.errors import TemplateError
from edge_wsd.prompts.chat_template import ChatTemplate
from edge_wsd.prompts.messages import Message
from edge_wsd.prompts.tools import Tool, ToolCall, parse_calls, parse_tools
from tests.chat_templates import CHATML, LLAMA3, TOOLS_HERMES, TOOLS_LLAMA3, TOOLS_MISTRAL, TOOLS_TEXT_ARGUMENTS

WEATHER = Tool("weather", "Tells the weather.", {"type": "object", "properties": {"city": {"type": "string"}}})
CALL = ToolCall("weather", {"city": "Köln"}, "a1b2c3d4e")
TURN = [
    Message("system", "Be brief."),
    Message("user", "Weather in Köln?"),
    Message("assistant", "", (CALL,)),
    Message("tool", '{"sky": "<clear>"}', tool_call_id="a1b2c3d4e"),
]


def template(source, name="test"):
    return ChatTemplate(source, bos="<s>", eos="</s>", name=name, now=lambda: datetime(2025, 1, 1))


@pytest.mark.parametrize("source", [TOOLS_HERMES, TOOLS_LLAMA3, TOOLS_MISTRAL])
@pytest.mark.parametrize("messages", [TURN, TURN[:2], [*TURN, Message("assistant", "Clear."), Message("user", "Now?")]])
def test_tools_calls_and_answers_are_shown_as_transformers_shows_them(source, messages):
    from transformers.utils.chat_template_utils import render_jinja_template

    conversation = [
        {**message.as_dict(), **({"name": "weather"} if message.role == "tool" else {})} for message in messages
    ]
    (expected,), _ = render_jinja_template(
        [conversation],
        tools=[WEATHER.as_dict()],
        chat_template=source,
        add_generation_prompt=True,
        bos_token="<s>",
        eos_token="</s>",
    )
    assert template(source).render_as_given(messages, [WEATHER]) == expected
    assert "Tells the weather." in expected
    assert len(messages) < 3 or ("<clear>" in expected and '"city": "Köln"' in expected)


def test_a_template_that_wants_arguments_as_text_gets_them_so():
    shown = template(TOOLS_TEXT_ARGUMENTS).render(TURN, [WEATHER])
    assert 'weather```json {"city": "Köln"}```' in shown


@pytest.mark.parametrize("source", [CHATML, "{{ messages[0].content }}"])
def test_a_template_that_leaves_the_tools_out_is_an_error_that_says_what_to_do(source):
    assert template(source).render(TURN[:2])
    with pytest.raises(TemplateError, match=r"template 'mine' does not support tools.*leave them out"):
        template(source, "mine").render(TURN[:2], [WEATHER])


def test_a_tool_that_is_only_named_in_the_conversation_is_not_shown():
    """Such a template once left out tools whose names are words, as those of most agents are."""
    asked = [Message("user", "What is the weather like? Ask weather.")]
    with pytest.raises(TemplateError, match="does not support tools"):
        template(CHATML).render(asked, [WEATHER])
    assert template(TOOLS_HERMES).render(asked, [WEATHER])


def test_a_template_that_refuses_the_answer_of_a_tool_says_so_itself():
    with pytest.raises(TemplateError, match="answers no tools"):
        template(LLAMA3).render(TURN, [WEATHER])


@pytest.mark.parametrize("arguments", [None, "", "null", "[]", "{}", {}])
def test_a_call_without_arguments_may_be_written_in_every_way(arguments):
    (call,) = parse_calls([{"id": "1", "function": {"name": "now", "arguments": arguments}}])
    assert call.arguments == {}


def test_a_keyword_that_is_null_is_no_part_of_a_tools_parameters():
    schema = {"type": "object", "properties": None, "required": None}
    (tool,) = parse_tools([{"type": "function", "function": {"name": "now", "parameters": schema}}])
    assert tool.parameters == {"type": "object"}


def test_without_tools_a_template_sees_none():
    asked = "{% if tools is none %}none{% else %}{{ tools | length }}{% endif %}{{ messages[0].content }}"
    assert template(asked).render([Message("user", "?")]) == "none?"
