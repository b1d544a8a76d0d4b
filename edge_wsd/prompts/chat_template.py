"""A model's own chat template, in Jinja, rendered in a sandbox of its own process.

>>> ChatTemplate("{{ messages[0].content }}", bos="<s>", eos="</s>", name="chat").render([Message("user", "Hi")])
'Hi'
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from edge_wsd.errors import TemplateError, TemplateStoppedError
from edge_wsd.prompts.messages import Message
from edge_wsd.prompts.renderer import RenderingFailed, shared_renderer

_MAX_SOURCE_CHARACTERS = 1 << 20
_MOST_ROLES = 12
# Ends the last message while rendering, so that what the template writes behind it can be cut off.
_OPEN_END = "\ue0f0\ue0f1open end\ue0f1\ue0f0"


class ChatTemplate:
    """Renders with `messages`, `bos_token`, `eos_token`, `add_generation_prompt`, `tools` and `documents` (none).

    A template that refuses a system message, or leaves its text out, is given the conversation once more with the
    system text at the head of the user's message that follows. Compiled when first used. One that takes more time or
    memory than `renderer` allows is a `TemplateStoppedError`.
    """

    stops: tuple[str, ...] = ()
    parses_special = True

    def __init__(
        self, source: str, *, bos: str, eos: str, name: str, now: Callable[[], datetime] = datetime.now
    ) -> None:
        """`bos` and `eos` are the texts of the model's tokens, `name` is for error messages, `now` for dates."""
        self.name = name
        self._source, self._bos, self._eos, self._now = source, bos, eos, now

    def render(self, messages: Sequence[Message]) -> str:
        if not messages:
            raise TemplateError("there is no message to answer; give at least one")
        merged = merge_system(messages)
        try:
            prompt = self.render_as_given(messages)
        except TemplateStoppedError:
            raise
        except TemplateError:
            if merged == tuple(messages):
                raise
        else:
            if all(message.content.strip() in prompt for message in messages if message.role == "system"):
                return prompt
        return self.render_as_given(merged)

    def render_as_given(self, messages: Sequence[Message]) -> str:
        """The conversation with its system messages in their places. Raises `TemplateError` if they are refused."""
        continues = messages[-1].role == "assistant"
        conversation = [{"role": message.role, "content": message.content} for message in messages]
        if continues:
            conversation[-1]["content"] += _OPEN_END
        prompt = self._run(conversation, add_generation_prompt=not continues)
        if not continues:
            return prompt
        head, found, _ = prompt.rpartition(_OPEN_END)
        if not found:
            raise TemplateError(
                f"template {self.name!r} does not show the assistant's last message, so it cannot be continued; "
                "use another template or end with a user message"
            )
        return head.replace(_OPEN_END, "")  # a template may show the message more than once

    def _run(self, conversation: list[dict[str, str]], *, add_generation_prompt: bool) -> str:
        if len(self._source) > _MAX_SOURCE_CHARACTERS:
            raise TemplateError(f"template {self.name!r} has {len(self._source)} characters; is it a template?")
        values = {
            "messages": conversation,
            "bos_token": self._bos,
            "eos_token": self._eos,
            "add_generation_prompt": add_generation_prompt,
            "tools": None,
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
