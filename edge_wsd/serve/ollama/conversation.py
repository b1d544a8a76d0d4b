"""A request's messages, as the library takes them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any

from edge_wsd.errors import OptionError
from edge_wsd.prompts.messages import Message, parse_messages
from edge_wsd.serve.ollama.wire import OllamaGenerateRequest, OllamaMessage, OllamaToolCall

_ID = "call{:05}"
"""Nine letters and digits: the only length that Mistral's templates take."""


def messages_of_chat(given: Sequence[OllamaMessage]) -> tuple[Message, ...]:
    """Calls of tools that have no id, as old clients send them, get one, and so do the messages that answer them.

    Raises `TemplateError` that names the message, and `OptionError` for images.
    """
    numbers = count(1)
    unanswered: list[dict[str, Any]] = []
    found = []
    for message in given:
        if message.images:
            raise OptionError("images are not supported: both models read text alone")
        entry: dict[str, Any] = {"role": message.role.lower(), "content": message.content or ""}
        if message.tool_calls:
            entry["tool_calls"] = [_call(call, next(numbers)) for call in message.tool_calls]
            unanswered = [*entry["tool_calls"]]
        if entry["role"] == "tool":
            entry["tool_call_id"] = message.tool_call_id or _answered(message.tool_name, unanswered)
        found.append(entry)
    return parse_messages(found)


def _call(given: OllamaToolCall, number: int) -> dict[str, Any]:
    function = {"name": given.function.name, "arguments": given.function.arguments}
    return {"id": given.id or _ID.format(number), "type": "function", "function": function}


def _answered(tool: str | None, unanswered: list[dict[str, Any]]) -> str:
    """The id of the first call of this tool, or else of any, which then has its answer."""
    of_tool = [call for call in unanswered if call["function"]["name"] == tool]
    if not unanswered:
        return _ID.format(0)
    answered = (of_tool or unanswered)[0]
    unanswered.remove(answered)
    return str(answered["id"])


def messages_of_prompt(asked: OllamaGenerateRequest) -> tuple[Message, ...]:
    """A prompt, behind a system prompt where there is one. Raises `TemplateError` for half a character."""
    given = [("system", asked.system), ("user", asked.prompt)] if asked.system else [("user", asked.prompt)]
    return parse_messages([{"role": role, "content": content} for role, content in given])


def refuse_unknown(asked: OllamaGenerateRequest) -> None:
    """What Ollama has and this server does not. Raises `OptionError`."""
    for name, given, instead in (
        ("suffix", asked.suffix, "no model here fills in the middle of a text"),
        ("template", asked.template, "a pair has its templates from its files or its entry; raw takes a whole prompt"),
        ("context", asked.context, "send the conversation as messages to /api/chat; what is known is not read twice"),
        ("images", asked.images, "both models read text alone"),
    ):
        if given:
            raise OptionError(f"{name} is not supported: {instead}")
    if asked.raw and asked.system:
        raise OptionError("system cannot be used together with raw, whose prompt is the whole of it; write it in there")
