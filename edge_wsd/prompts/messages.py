"""One message of a conversation, and reading conversations given as plain dictionaries.

>>> parse_messages([{"role": "user", "content": "Hello"}])
(Message(role='user', content='Hello'),)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

from edge_wsd.checks import half_character_at, shown
from edge_wsd.errors import TemplateError

Role = Literal["system", "user", "assistant"]
ROLES: tuple[str, ...] = get_args(Role)
_KEYS = {"role", "content"}


@dataclass(frozen=True, slots=True)
class Message:
    """Validated on construction; a `TemplateError` says what is wrong with it."""

    role: Role
    content: str

    def __post_init__(self) -> None:
        if not isinstance(self.role, str) or self.role not in ROLES:
            raise TemplateError(f"role must be {', '.join(ROLES[:-1])} or {ROLES[-1]}, not {shown(self.role)}")
        if not isinstance(self.content, str):
            raise TemplateError(f"content must be a string, not {type(self.content).__name__}")
        position = half_character_at(self.content)
        if position is not None:
            half = f"U+{ord(self.content[position]):04X}"
            raise TemplateError(f"content is not valid text: half a character ({half}) at position {position}")


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
    if set(message) != _KEYS:
        missing, unknown = sorted(_KEYS - set(message)), sorted(map(str, set(message) - _KEYS))
        defect = f"has no {missing[0]}" if missing else f"has the unknown key {shown(unknown[0])}"
        raise TemplateError(f"message {number} {defect}; expected role and content")
    try:
        return Message(cast(Role, message["role"]), message["content"])
    except TemplateError as error:
        raise TemplateError(f"message {number}: {error}") from None
