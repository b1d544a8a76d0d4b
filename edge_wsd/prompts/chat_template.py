"""A model's own chat template, in Jinja, rendered in a sandbox of its own process.

>>> ChatTemplate("{{ messages[0].content }}", bos="<s>", eos="</s>", name="chat").render([Message("user", "Hi")])
'Hi'
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from edge_wsd.errors import TemplateError, TemplateStoppedError
from edge_wsd.prompts.messages import Message
from edge_wsd.prompts.renderer import RenderingFailed, shared_renderer
from edge_wsd.prompts.tools import Tool

_MAX_SOURCE_CHARACTERS = 1 << 20
_MOST_ROLES = 12
# Ends the last message while rendering, so that what the template writes behind it can be cut off.
_OPEN_END = "\ue0f0\ue0f1open end\ue0f1\ue0f0"


class ChatTemplate:
    """Renders with `messages`, `bos_token`, `eos_token`, `add_generation_prompt`, `tools` and `documents` (none).

    A template that refuses a system message, or leaves its text out, is given the conversation once more with the
    system text at the head of the user's message that follows. One that fails on calls of tools is given their
    arguments as JSON text. One that leaves the tools out is a `TemplateError`. Compiled when first used. One that
    takes more time or memory than `renderer` allows is a `TemplateStoppedError`.
    """

    stops: tuple[str, ...] = ()
    parses_special = True

    def __init__(
        self, source: str, *, bos: str, eos: str, name: str, now: Callable[[], datetime] = datetime.now
    ) -> None:
        """`bos` and `eos` are the texts of the model's tokens, `name` is for error messages, `now` for dates."""
        self.name = name
        self._source, self._bos, self._eos, self._now = source, bos, eos, now

    def render(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> str:
        if not messages:
            raise TemplateError("there is no message to answer; give at least one")
        merged = merge_system(messages)
        try:
            prompt = self.render_as_given(messages, tools)
        except TemplateStoppedError:
            raise
        except TemplateError:
            if merged == tuple(messages):
                raise
        else:
            if all(message.content.strip() in prompt for message in messages if message.role == "system"):
                return prompt
        return self.render_as_given(merged, tools)

    def render_as_given(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> str:
        """The conversation with its system messages in their places. Raises `TemplateError` if they are refused."""
        prompt = self._with_calls(messages, tools)
        if tools and not self._shows(tools, prompt, messages):
            raise TemplateError(
                f"template {self.name!r} does not support tools, so the model cannot call any; leave them out, or use "
                "a model or a template that knows tools"
            )
        return prompt

    def _shows(self, tools: Sequence[Tool], prompt: str, messages: Sequence[Message]) -> bool:
        """Whether each is named there more often than without tools: messages may name them as well."""
        try:
            without = self._with_calls(messages, ())
        except TemplateStoppedError:
            raise
        except TemplateError:
            without = ""
        return all(prompt.count(tool.name) > without.count(tool.name) for tool in tools)

    def _with_calls(self, messages: Sequence[Message], tools: Sequence[Tool]) -> str:
        """Some templates want the arguments of calls as text."""
        try:
            return self._render(messages, tools, arguments_as_text=False)
        except TemplateStoppedError:
            raise
        except TemplateError:
            if not any(message.tool_calls for message in messages):
                raise
            return self._render(messages, tools, arguments_as_text=True)

    def _render(self, messages: Sequence[Message], tools: Sequence[Tool], *, arguments_as_text: bool) -> str:
        continues = messages[-1].role == "assistant"
        conversation = _conversation(messages, arguments_as_text=arguments_as_text)
        if continues:
            conversation[-1]["content"] += _OPEN_END
        prompt = self._run(conversation, tools, add_generation_prompt=not continues)
        if not continues:
            return prompt
        head, found, _ = prompt.rpartition(_OPEN_END)
        if not found:
            raise TemplateError(
                f"template {self.name!r} does not show the assistant's last message, so it cannot be continued; "
                "use another template or end with a user message"
            )
        return head.replace(_OPEN_END, "")  # a template may show the message more than once

    def _run(self, conversation: list[dict[str, Any]], tools: Sequence[Tool], *, add_generation_prompt: bool) -> str:
        if len(self._source) > _MAX_SOURCE_CHARACTERS:
            raise TemplateError(f"template {self.name!r} has {len(self._source)} characters; is it a template?")
        values = {
            "messages": conversation,
            "bos_token": self._bos,
            "eos_token": self._eos,
            "add_generation_prompt": add_generation_prompt,
            "tools": [tool.as_dict() for tool in tools] or None,
            "documents": None,
        }
        try:
            return shared_renderer().render(self._source, values, self._now())
        except RenderingFailed as error:
            raise self._failure(error, [message["role"] for message in conversation]) from error
        except OSError as error:
            reason = error.strerror or error
            raise TemplateError(f"template {self.name!r}: the process to render it does not start: {reason}") from error

    def _failure(self, error: RenderingFailed, roles: Sequence[str]) -> TemplateError:
        if error.stage == "stopped":
            return TemplateStoppedError(
                f"template {self.name!r} was stopped: {error.reason}; use another one or a shorter conversation"
            )
        if error.stage == "compile" and error.line is None:
            return TemplateError(f"template {self.name!r} does not compile: {error.reason}; correct it")
        place = f"template {self.name!r}" + ("" if error.line is None else f", line {error.line}")
        if error.stage == "compile":
            return TemplateError(f"{place}: {error.reason}; correct it")
        return TemplateError(
            f"{place}: {error.reason} (roles given: {', '.join(roles)}); use another template or order"
        )


def _conversation(messages: Sequence[Message], *, arguments_as_text: bool) -> list[dict[str, Any]]:
    """The messages as templates expect them: one of a tool also has the tool's name, which some show."""
    names = {call.id: call.name for message in messages for call in message.tool_calls}
    conversation = []
    for message in messages:
        shown = message.as_dict()
        if message.tool_calls:
            shown["tool_calls"] = [call.as_dict(arguments_as_text=arguments_as_text) for call in message.tool_calls]
        if message.tool_call_id in names:
            shown["name"] = names[message.tool_call_id]
        conversation.append(shown)
    return conversation


def merge_system(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The conversation without system messages: their text heads the user's next message, or ends the last one."""
    merged: list[Message] = []
    waiting: list[str] = []
    for message in messages:
        if message.role == "system":
            waiting.append(message.content)
        elif message.role == "user" and waiting:
            merged.append(Message("user", "\n\n".join([*waiting, message.content])))
            waiting = []
        else:
            merged.append(message)
    if waiting:
        index = next((i for i in reversed(range(len(merged))) if merged[i].role == "user"), None)
        if index is None:
            merged.insert(0, Message("user", "\n\n".join(waiting)))
        else:
            merged[index] = Message("user", "\n\n".join([merged[index].content, *waiting]))
    return tuple(merged)
