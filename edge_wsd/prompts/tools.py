"""Tools that a model may call, and its calls, both in the form in which OpenAI's clients give them.

>>> parse_tools([{"type": "function", "function": {"name": "now", "parameters": {"type": "object"}}}])[0].name
'now'
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from edge_wsd.checks import half_character_at, shown
from edge_wsd.errors import TemplateError
from edge_wsd.reading import parse_json

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may ask its caller to run."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=lambda: {"type": "object", "properties": {}})
    """A JSON schema of its arguments."""

    def __post_init__(self) -> None:
        _require_name(self.name)
        if not isinstance(self.description, str):
            raise TemplateError(f"the description of tool {self.name} must be text, not {shown(self.description)}")
        if not isinstance(self.parameters, Mapping):
            raise TemplateError(f"the parameters of tool {self.name} must be a JSON schema, an object")
        _require_text(f"tool {self.name}", self.as_dict())

    def as_dict(self) -> dict[str, Any]:
        """As chat templates expect it."""
        function = {"name": self.name, "description": self.description, "parameters": dict(self.parameters)}
        return {"type": "function", "function": function}

    def texts(self) -> Iterator[str]:
        """All that may be anything."""
        return texts_in(self.as_dict())

    def mapped(self, change: Callable[[str], str]) -> Tool:
        """The same with `change` applied to every text in it but the name, which is none of a control token."""
        return replace(self, description=change(self.description), parameters=mapped(self.parameters, change))


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A model's call of a tool, with its arguments by name."""

    name: str
    arguments: Mapping[str, Any]
    id: str = ""
    """Names the call in the message that answers it."""

    def __post_init__(self) -> None:
        _require_name(self.name)
        if not isinstance(self.arguments, Mapping):
            raise TemplateError(f"the arguments of {self.name} must be an object, not {shown(self.arguments)}")
        if not isinstance(self.id, str):
            raise TemplateError(f"the id of the call of {self.name} must be text, not {shown(self.id)}")
        _require_text(f"the call of {self.name}", {"id": self.id, "arguments": self.arguments})

    def as_dict(self, *, arguments_as_text: bool = False) -> dict[str, Any]:
        """As chat templates expect it; some want the arguments as JSON text."""
        arguments = self.arguments_text if arguments_as_text else dict(self.arguments)
        return {"id": self.id, "type": "function", "function": {"name": self.name, "arguments": arguments}}

    @property
    def arguments_text(self) -> str:
        """The arguments as JSON."""
        return json.dumps(self.arguments, ensure_ascii=False)

    def mapped(self, change: Callable[[str], str]) -> ToolCall:
        """The same with `change` applied to every text in its id and arguments."""
        return replace(self, arguments=mapped(self.arguments, change), id=change(self.id))


def mapped(value: Any, change: Callable[[str], str]) -> Any:
    """A JSON value with `change` applied to every text in it, keys included."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {change(key): mapped(entry, change) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [mapped(entry, change) for entry in value]
    return value


def texts_in(value: Any) -> Iterator[str]:
    """Every text in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, entry in value.items():
            yield key
            yield from texts_in(entry)
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from texts_in(entry)


def parse_tools(tools: Sequence[Tool] | Sequence[Mapping[str, Any]]) -> tuple[Tool, ...]:
    """Tools as given by a caller or read from JSON. Raises `TemplateError` that names the tool by number."""
    given: object = tools
    if isinstance(given, str | bytes) or not isinstance(given, Sequence):
        raise TemplateError(f"tools must be a list of tools, not {type(given).__name__}")
    return tuple(_parse_tool(number, tool) for number, tool in enumerate(given, start=1))


def _parse_tool(number: int, tool: object) -> Tool:
    if isinstance(tool, Tool):
        return tool
    if not isinstance(tool, Mapping) or tool.get("type", "function") != "function":
        raise TemplateError(f'tool {number} must be an object of type "function", not {shown(tool)}')
    function = tool.get("function")
    if not isinstance(function, Mapping):
        raise TemplateError(f"tool {number} has no function; expected an object with name, description and parameters")
    known = {key: function[key] for key in ("description", "parameters") if function.get(key) is not None}
    if isinstance(schema := known.get("parameters"), Mapping):  # "properties": null is what some clients make of none
        known["parameters"] = {key: value for key, value in schema.items() if value is not None}
    try:
        return Tool(function.get("name", ""), **known)
    except TemplateError as error:
        raise TemplateError(f"tool {number}: {error}") from None


def parse_calls(calls: object) -> tuple[ToolCall, ...]:
    """The calls of an assistant's message. Raises `TemplateError`."""
    if not isinstance(calls, list | tuple):
        raise TemplateError(f"tool_calls must be a list, not {type(calls).__name__}")
    return tuple(call if isinstance(call, ToolCall) else _parse_call(call) for call in calls)


def _parse_call(call: object) -> ToolCall:
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(call, Mapping) or not isinstance(function, Mapping):
        raise TemplateError(f"a tool call must be an object with id and function, not {shown(call)}")
    arguments = function.get("arguments") or {}
    if isinstance(arguments, str):
        try:
            arguments = parse_json(arguments) or {}  # some clients make "null" or "[]" of no arguments
        except ValueError as error:
            raise TemplateError(f"the arguments of a tool call are not JSON: {error}") from None
    return ToolCall(function.get("name", ""), arguments, call.get("id") or "")


def _require_name(name: object) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise TemplateError(
            f"the name of a tool must be 1 to 64 of the characters A-Z, a-z, 0-9, _, - and ., not {shown(name)}"
        )


def _require_text(what: str, value: Any) -> None:
    try:
        halves = any(half_character_at(text) is not None for text in texts_in(value))
        json.dumps(value)
    except (TypeError, ValueError, RecursionError, AttributeError):
        raise TemplateError(f"{what} must be made of JSON values") from None
    if halves:
        raise TemplateError(f"{what} holds half a character, which is not text")
