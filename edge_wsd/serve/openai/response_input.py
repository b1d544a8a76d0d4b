"""The input of `/v1/responses` as messages.

>>> input_messages("Hello", "Be brief.")
[Message(role='system', content='Be brief.'), Message(role='user', content='Hello')]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from edge_wsd.checks import shown
from edge_wsd.errors import TemplateError
from edge_wsd.prompts.messages import Message
from edge_wsd.prompts.tools import parse_calls
from edge_wsd.serve.errors import RequestError
from edge_wsd.serve.openai.chat_types import ChatMessage
from edge_wsd.serve.openai.messages import messages_of, text_of


def input_messages(given: str | Sequence[dict[str, Any]], instructions: str | None) -> list[Message]:
    """Raises `RequestError` that names the item."""
    messages = [Message("system", instructions)] if instructions else []
    if isinstance(given, str):
        return [*messages, Message("user", given)]
    for number, item in enumerate(given):
        for message in _of_item(item, f"input.{number}"):
            if message.tool_calls and messages and messages[-1].role == "assistant":
                calls = (*messages[-1].tool_calls, *message.tool_calls)
                messages[-1] = replace(messages[-1], tool_calls=calls)
            else:
                messages.append(message)
    return messages


def flat_tools(given: Sequence[dict[str, Any]] | None) -> list[dict[str, Any]]:
    """Tools as chat completions have them: name and parameters in an object of their own."""
    return [
        {"type": "function", "function": tool} if tool.get("type") == "function" and "function" not in tool else tool
        for tool in given or ()
    ]


def _of_item(item: dict[str, Any], place: str) -> list[Message]:
    kind = item.get("type") or "message"
    try:
        if kind == "message":
            return messages_of([ChatMessage.model_validate(item)])
        if kind == "function_call":
            function = {"name": item.get("name"), "arguments": item.get("arguments")}
            return [Message("assistant", "", parse_calls([{"id": item.get("call_id"), "function": function}]))]
        if kind == "function_call_output":
            output = "" if item.get("output") is None else text_of(item["output"], f"{place}.output")
            return [Message("tool", output, tool_call_id=str(item.get("call_id") or ""))]
        if kind == "reasoning":
            return []
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join([place, *map(str, first["loc"])])
        raise RequestError(f"{field}: {first['msg']}", code="invalid_value", param=field) from None
    except TemplateError as error:
        raise RequestError(f"{place}: {error}", code="invalid_value", param=place) from None
    except RequestError as error:
        text, param = (told.replace("messages.0", place, 1) for told in (str(error), error.param or place))
        raise RequestError(text, code=error.code, param=param) from None
    raise RequestError(
        f"{place}: an item of type {shown(kind)} cannot be read; send messages, function_call and function_call_output",
        code="unsupported_content",
        param=place,
    )
