"""Messages as OpenAI's clients send them, as the library takes them.

>>> messages_of([ChatMessage(role="developer", content=[{"type": "text", "text": "Be brief."}])])
[Message(role='system', content='Be brief.')]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edge_wsd.checks import shown
from edge_wsd.errors import TemplateError
from edge_wsd.prompts.messages import Message, parse_messages
from edge_wsd.serve.errors import RequestError
from edge_wsd.serve.openai.chat_types import ChatMessage

_TEXTS = {"text": "text", "input_text": "text", "output_text": "text", "refusal": "refusal"}
"""The parts that are texts, and where each has its text."""


def messages_of(given: Sequence[ChatMessage]) -> list[Message]:
    """Raises `RequestError` that names the message."""
    return [_message(f"messages.{number}", message) for number, message in enumerate(given)]


def text_of(content: object, place: str) -> str:
    """A message's content as one text: each part begins a line, as for other servers.

    Raises `RequestError` for a part that is no text, such as an image.
    """
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise RequestError(f"{place}: must be a text or a list of parts", code="invalid_value", param=place)
    parts = [_part(part, f"{place}.{number}") for number, part in enumerate(content)]
    return "\n".join(part for part in parts if part)


def _part(part: object, place: str) -> str:
    kind = part.get("type") if isinstance(part, Mapping) else None
    text = part.get(_TEXTS[kind]) if isinstance(part, Mapping) and isinstance(kind, str) and kind in _TEXTS else None
    if not isinstance(text, str):
        raise RequestError(
            f"{place}: a part of type {shown(kind)} cannot be read; the models of a pair read text alone: send parts "
            'like {"type": "text", "text": "..."}',
            code="unsupported_content",
            param=place,
        )
    return text


def _message(place: str, given: ChatMessage) -> Message:
    role = "system" if given.role == "developer" else given.role
    message: dict[str, Any] = {"role": role, "content": text_of(given.content or "", f"{place}.content")}
    if given.content is None and not given.tool_calls:
        text = f"{place}.content: must be text; only a message of the assistant with tool_calls may have none"
        raise RequestError(text, code="invalid_value", param=f"{place}.content")
    if given.tool_calls and role == "assistant":
        message["tool_calls"] = given.tool_calls
    if role == "tool":
        message["tool_call_id"] = given.tool_call_id or ""
    try:
        return parse_messages([message])[0]
    except TemplateError as error:
        cause = str(error).removeprefix("message 1: ")
        raise RequestError(f"{place}: {cause}", code="invalid_value", param=place) from None
