"""A request's messages, as the library takes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

from edge_wsd.errors import OptionError
from edge_wsd.prompts.messages import Message, parse_messages
from edge_wsd.serve.ollama.wire import OllamaGenerateRequest, OllamaMessage


def messages_of_chat(given: Sequence[OllamaMessage]) -> tuple[Message, ...]:
    """Ollama's tool messages come in the order of the calls; the library's name the call that they answer.

    Raises `TemplateError` that names the message, and `OptionError` for images.
    """
    ids = count(1)
    open_calls: Iterator[str] = iter(())
    found = []
    for message in given:
        if message.images:
            raise OptionError("images are not supported: both models read text alone")
        entry: dict[str, Any] = {"role": message.role, "content": message.content or ""}
        if message.tool_calls:
            names = [f"call_{next(ids)}" for _ in message.tool_calls]
            entry["tool_calls"] = list(_calls(message, names))
            open_calls = iter(names)
        if message.role == "tool":
            entry["tool_call_id"] = next(open_calls, "call_0")
        found.append(entry)
    return parse_messages(found)


def _calls(message: OllamaMessage, names: list[str]) -> Iterator[dict[str, Any]]:
    for name, call in zip(names, message.tool_calls or (), strict=True):
        yield {"id": name, "type": "function", "function": call.function.model_dump()}


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
