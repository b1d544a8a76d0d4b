"""The prompt of a base model that was never taught a chat format: headings in brackets.

>>> PlainTemplate().render([Message("user", "Hi")])
'\\n\\n[User]\\nHi\\n\\n[Assistant]\\n'
"""

from __future__ import annotations

from collections.abc import Sequence

from edge_wsd.errors import TemplateError
from edge_wsd.prompts.messages import Message

_HEADINGS = {"system": "[System]", "user": "[User]", "assistant": "[Assistant]"}


class PlainTemplate:
    """A heading and the stripped content for each message. The tokenizer adds the BOS token, not the text."""

    name = "plain"
    parses_special = False
    stops = tuple(
        newlines + heading for newlines in ("\n\n", "\n", "") for heading in ("[User]", "[System]", "[Assistant]")
    )

    def render(self, messages: Sequence[Message]) -> str:
        if not messages:
            raise TemplateError("there is no message to answer; give at least one")
        parts = [f"\n\n{_HEADINGS[message.role]}\n{message.content.strip()}" for message in messages]
        if messages[-1].role != "assistant":
            parts.append(f"\n\n{_HEADINGS['assistant']}\n")
        return "".join(parts)
