"""What `tools`, `tool_choice` and `response_format` ask for.

>>> asked_tools(request.tools, request.tool_choice)
ToolsAsked(tools=(...), schema=None)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edge_wsd.errors import TemplateError
from edge_wsd.prompts.tools import Tool, parse_tools
from edge_wsd.serve.errors import RequestError

_ANY_OBJECT = {"type": "object", "additionalProperties": True}


@dataclass(frozen=True, slots=True)
class ToolsAsked:
    """The tools that the model is told of. `schema` is that of its whole answer, where it must call one."""

    tools: tuple[Tool, ...] = ()
    schema: Mapping[str, Any] | None = None


def asked_tools(tools: Sequence[Mapping[str, Any]] | None, choice: str | Mapping[str, Any] | None) -> ToolsAsked:
    """With the choice "none" the model hears of no tools. Raises `RequestError`."""
    try:
        known = parse_tools(tools or ())
    except TemplateError as error:
        raise RequestError(str(error), code="invalid_value", param="tools") from None
    if isinstance(choice, Mapping) and choice.get("type") == "allowed_tools":
        known, choice = _allowed(known, choice)
    if choice in (None, "auto"):
        return ToolsAsked(known)
    if choice == "none":
        return ToolsAsked()
    if not known and (choice == "required" or _named(choice) is not None):
        text = "tool_choice needs tools: name the functions that may be called under tools, or leave tool_choice out"
        raise RequestError(text, code="invalid_value", param="tool_choice")
    callable_ones = known if choice == "required" else tuple(tool for tool in known if tool.name == _named(choice))
    if not callable_ones:
        raise RequestError(
            f'tool_choice must be "auto", "none", "required", one of the tools or some (allowed_tools), not {choice!r}',
            code="invalid_value",
            param="tool_choice",
        )
    return ToolsAsked(known, _schema_of_call(callable_ones))


def _allowed(known: Sequence[Tool], choice: Mapping[str, Any]) -> tuple[tuple[Tool, ...], str]:
    """The tools that are left by {"type": "allowed_tools", "allowed_tools": {"mode": ..., "tools": [...]}}, or the same
    without the inner object, and what is to be chosen from them. Raises `RequestError`.
    """
    inner = _inner(choice)
    mode, tools = inner.get("mode"), inner.get("tools")
    names = [_named(each) for each in tools] if isinstance(tools, list) else []
    wanted = {name for name in names if isinstance(name, str)}
    text = 'an object of type allowed_tools needs a mode, "auto" or "required", and a list of some of the tools'
    if mode in ("auto", "required") and wanted and len(wanted) == len({str(name) for name in names}):
        missing = wanted - {tool.name for tool in known}
        if not missing:
            return tuple(tool for tool in known if tool.name in wanted), str(mode)
        text = f"{min(missing)!r} is none of the tools"
    raise RequestError(f"tool_choice: {text}", code="invalid_value", param="tool_choice")


def _inner(choice: Mapping[str, Any]) -> Mapping[str, Any]:
    """What tells which tools are allowed."""
    inner = choice.get("allowed_tools", choice)
    return inner if isinstance(inner, Mapping) else {}


def most_calls(parallel: bool | None) -> int | None:
    """How many calls an answer may have, as `parallel_tool_calls` says; None for any number."""
    return 1 if parallel is False else None


def _named(choice: str | Mapping[str, Any] | None) -> object:
    """The name in {"type": "function", "function": {"name": ...}}, or without the inner object."""
    if not isinstance(choice, Mapping):
        return None
    function = choice.get("function")
    return function.get("name") if isinstance(function, Mapping) else choice.get("name")


def _schema_of_call(tools: Sequence[Tool]) -> dict[str, Any]:
    """A call is JSON alone: the form that needs no text that only some models know."""
    definitions: dict[str, Any] = {}
    calls = []
    for tool in tools:
        parameters = dict(tool.parameters)
        definitions |= parameters.pop("$defs", {})
        calls.append({
            "type": "object",
            "properties": {"name": {"const": tool.name}, "arguments": parameters},
            "required": ["name", "arguments"],
        })  # fmt: skip
    return {"anyOf": calls, **({"$defs": definitions} if definitions else {})}


def must_call(choice: str | Mapping[str, Any] | None) -> bool:
    """Whether the answer must be a call."""
    if isinstance(choice, Mapping) and choice.get("type") == "allowed_tools":
        return _inner(choice).get("mode") == "required"
    return choice not in (None, "auto", "none")


def schema_of_format(given: Mapping[str, Any] | None, field: str) -> Mapping[str, Any] | None:
    """The schema that `field` asks for; None for text. Raises `RequestError`."""
    kind = "text" if given is None else given.get("type")
    if kind == "text":
        return None
    if kind == "json_object":
        return _ANY_OBJECT
    described = given.get("json_schema", given) if given is not None else None
    schema = described.get("schema") if isinstance(described, Mapping) else None
    if kind == "json_schema" and isinstance(schema, Mapping):
        return schema
    raise RequestError(
        f'{field} must be of type "text", "json_object", or "json_schema" with a schema',
        code="invalid_value",
        param=field,
    )
