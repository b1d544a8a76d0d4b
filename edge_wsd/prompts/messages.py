"""One message of a conversation, and reading conversations given as plain dictionaries.

>>> parse_messages([{"role": "user", "content": "Hello"}])
(Message(role='user', content='Hello'),)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast, get_args

from edge_wsd.checks import half_character_at, shown
from edge_wsd.errors import TemplateError
from edge_wsd.prompts.tools import ToolCall, mapped, parse_calls, texts_in

Role = Literal["system", "user", "assistant", "tool"]
ROLES: tuple[str, ...] = get_args(Role)
_KEYS = {"role", "content"}
_KEYS_OF_TOOLS = {"assistant": "tool_calls", "tool": "tool_call_id"}


@dataclass(frozen=True, slots=True)
class Message:
    """Validated on construction; a `TemplateError` says what is wrong with it."""

    role: Role
    content: str
    tool_calls: tuple[ToolCall, ...] = field(default=(), repr=False)
    """What the assistant asked for besides its text."""
    tool_call_id: str | None = field(default=None, repr=False)
    """Which call the message of a tool answers."""

    def __post_init__(self) -> None:
        if not isinstance(self.role, str) or self.role not in ROLES:
            raise TemplateError(f"role must be {', '.join(ROLES[:-1])} or {ROLES[-1]}, not {shown(self.role)}")
        if not isinstance(self.content, str):
            raise TemplateError(f"content must be a string, not {type(self.content).__name__}")
        position = half_character_at(self.content)
        if position is not None:
            half = f"U+{ord(self.content[position]):04X}"
            raise TemplateError(f"content is not valid text: half a character ({half}) at position {position}")
        if self.tool_calls and self.role != "assistant":
            raise TemplateError(f"tool_calls belong to a message of the assistant, not to one of role {self.role!r}")
        if (self.role == "tool") != isinstance(self.tool_call_id, str):
            raise TemplateError("tool_call_id must name the call that a message of role 'tool' answers, and no other")

    def as_dict(self) -> dict[str, Any]:
        """As JSON holds it, without what it has not."""
        found: dict[str, Any] = {"role": self.role, "content": self.content}
        if self.tool_calls:
            found["tool_calls"] = [call.as_dict() for call in self.tool_calls]
        if self.tool_call_id is not None:
            found["tool_call_id"] = self.tool_call_id
        return found

    def texts(self) -> Iterator[str]:
        """All that may be anything."""
        return texts_in(self.as_dict())

    def mapped(self, change: Callable[[str], str]) -> Message:
        """The same with `change` applied to all that may be anything."""
        calls = tuple(call.mapped(change) for call in self.tool_calls)
        answered = mapped(self.tool_call_id, change)
        return replace(self, content=change(self.content), tool_calls=calls, tool_call_id=answered)


def parse_messages(messages: Sequence[Message] | Sequence[Mapping[str, Any]]) -> tuple[Message, ...]:
    """Messages as given by a caller or read from JSON. Raises `TemplateError` that names the message by number."""
    given: object = messages
    if isinstance(given, str | bytes) or not isinstance(given, Sequence):
        raise TemplateError(f"messages must be a list of messages, not {type(given).__name__}")
    return tuple(_parse(number, message) for number, message in enumerate(given, start=1))


def _parse(number: int, message: object) -> Message:
    if isinstance(message, Message):
        return message
    if not isinstance(message, Mapping):
        raise TemplateError(f"message {number} must be an object with role and content, not {shown(message)}")
    if set(message) - {_KEYS_OF_TOOLS.get(str(message.get("role")))} != _KEYS:
        missing, unknown = sorted(_KEYS - set(message)), sorted(map(str, set(message) - _KEYS))
        defect = f"has no {missing[0]}" if missing else f"has the unknown key {shown(unknown[0])}"
        raise TemplateError(f"message {number} {defect}; expected role and content")
    try:
        calls = parse_calls(message.get("tool_calls") or ())
        return Message(cast(Role, message["role"]), message["content"], calls, message.get("tool_call_id"))
    except TemplateError as error:
        raise TemplateError(f"message {number}: {error}") from None
