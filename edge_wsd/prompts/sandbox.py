"""The Jinja environment of chat templates, which come with downloaded models and are not to be trusted.

It is the environment that transformers renders them in, so that published templates give the same prompts. Jinja's
sandbox keeps a template from Python's insides; time and memory are bounded by the process it runs in (`renderer`).
"""

from __future__ import annotations

import json
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.exceptions import SecurityError, TemplateRuntimeError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Macro, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

FILE_NAME = "<chat template>"


class _GenerationTag(Extension):
    """`{% generation %}` marks the assistant's text for training; its body is kept, in a scope of its own."""

    tags = {"generation"}  # noqa: RUF012 - the attribute's shape is Jinja's

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_text_of"), [], [], body).set_lineno(line)

    @staticmethod
    def _text_of(caller: Macro) -> str:
        return str(caller())


class ChatEnvironment(ImmutableSandboxedEnvironment):
    """Compiles and renders chat templates as the transformers library does."""

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _GenerationTag])
        self.filters["tojson"] = _to_json
        self.globals["raise_exception"] = _raise_exception

    def compiled(self, source: str) -> jinja2.Template:
        """Raises `TemplateSyntaxError`, or whatever Python's compiler makes of a monstrous source."""
        code = self.compile(self.parse(source, filename=FILE_NAME), filename=FILE_NAME)
        return jinja2.Template.from_code(self, code, self.make_globals(None))

    def unsafe_undefined(self, obj: Any, attribute: str) -> Undefined:
        """Jinja would only complain once the value is used, and printing it is no use."""
        raise SecurityError(f"it reaches for {attribute!r} of a {type(obj).__name__}")


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Plain JSON, unlike Jinja's own filter, which escapes for HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: object = "no reason given") -> str:
    raise TemplateRuntimeError(str(message))
