"""The prompt of a base model that was never taught a chat format: headings in brackets.

>>> PlainTemplate().render([Message("user", "Hi")])
'\\n\\n[User]\\nHi\\n\\n[Assistant]\\n'
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from edge_wsd.errors import TemplateError
from edge_wsd.prompts.messages import Message
from edge_wsd.prompts.tools import Tool

_HEADINGS = {"system": "[System]", "user": "[User]", "assistant": "[Assistant]", "tool": "[Tool]"}


class PlainTemplate:
    """A heading and the stripped content for each message. The tokenizer adds the BOS token, not the text."""

    name = "plain"
    parses_special = False
    stops = tuple(
        newlines + heading for newlines in ("\n\n", "\n", "") for heading in ("[User]", "[System]", "[Assistant]")
    )

    def render(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> str:
        if not messages:
            raise TemplateError("there is no message to answer; give at least one")
        parts = [f"\n\n{_HEADINGS[message.role]}\n{_text_of(message)}" for message in messages]
        if tools:
            parts.insert(0, "\n\n[Tools]\n" + "\n".join(_json(tool.as_dict()["function"]) for tool in tools))
        if messages[-1].role != "assistant":
            parts.append(f"\n\n{_HEADINGS['assistant']}\n")
        return "".join(parts)


def _text_of(message: Message) -> str:
    """Its content, and its calls as most models are taught to write them."""
    calls = (_json({"name": call.name, "arguments": call.arguments}) for call in message.tool_calls)
    return "\n".join([message.content.strip(), *(f"<tool_call>\n{call}\n</tool_call>" for call in calls)]).strip()


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
