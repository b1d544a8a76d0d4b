"""A Jinja environment for templates that come with downloaded models and are not to be trusted.

Jinja's own sandbox keeps a template from Python's insides. This one also counts: every pass through a loop, every
call of a macro and every character made is charged to the `Budget` of the rendering, so that a template can
take neither endless time nor all memory. The clock is only looked at between two steps: a single expression can
overrun it, but not by much, as its data is bounded.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from jinja2 import nodes
from jinja2.exceptions import SecurityError, TemplateRuntimeError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

MAX_STEPS = 250_000
MAX_SECONDS = 10.0
MAX_CHARACTERS = 1 << 26
_MAX_WIDTH = 1000
"""Largest number a filter or a method of strings is given: widths, indents and counts of padding."""
_MAX_INTEGER_BITS = 4096
_WIDE_FORMAT = re.compile(r"\*|\d{4}")
_UNUSED_FILTERS = ("batch", "center", "format", "pprint", "random", "slice", "urlize", "wordwrap", "xmlattr")


class Refusal(TemplateRuntimeError):
    """The template itself said no, by `raise_exception`."""


class Budget:
    """What one rendering may still spend."""

    def __init__(self, steps: int = MAX_STEPS, characters: int = MAX_CHARACTERS) -> None:
        self._steps, self._characters = steps, characters
        self._deadline = time.monotonic() + MAX_SECONDS

    def step(self, count: int = 1) -> None:
        self._steps -= count
        if self._steps < 0 or time.monotonic() > self._deadline:
            raise SecurityError("it loops too long")

    def make(self, n_characters: int) -> None:
        self._characters -= n_characters
        if self._characters < 0:
            raise SecurityError("it makes too much text")


_BUDGET: ContextVar[Budget] = ContextVar("budget")


@contextmanager
def spending(budget: Budget) -> Iterator[None]:
    """Charges everything rendered inside to `budget`."""
    token = _BUDGET.set(budget)
    try:
        yield
    finally:
        _BUDGET.reset(token)


class _Charging(NodeTransformer):
    """Writes a charge into every loop and macro, and makes `~` a call that can be charged."""

    def visit_For(self, node: nodes.For) -> nodes.Node:
        if node.test is not None:  # passes that the test leaves out cost as well
            node.test = nodes.And(nodes.Not(self._step(node.lineno), lineno=node.lineno), node.test, lineno=node.lineno)
        return self._charged(node)

    def visit_Macro(self, node: nodes.Macro) -> nodes.Node:
        return self._charged(node)

    def visit_CallBlock(self, node: nodes.CallBlock) -> nodes.Node:
        return self._charged(node)

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        joined = nodes.EnvironmentAttribute("join_texts", lineno=node.lineno)
        return nodes.Call(joined, node.nodes, [], None, None, lineno=node.lineno)

    def _charged(self, node: Any) -> nodes.Node:
        self.generic_visit(node)
        node.body.insert(0, nodes.Output([self._step(node.lineno)], lineno=node.lineno))
        return node  # type: ignore[no-any-return]

    @staticmethod
    def _step(line: int) -> nodes.Call:
        """Charges a step and is an empty text."""
        return nodes.Call(nodes.EnvironmentAttribute("charge_step", lineno=line), [], [], None, None, lineno=line)


class _GenerationTag(Extension):
    """`{% generation %}` marks the assistant's text for training; here its body is simply kept."""

    tags = {"generation"}  # noqa: RUF012 - the attribute's shape is Jinja's

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class ChatEnvironment(ImmutableSandboxedEnvironment):
    """Renders chat templates as the transformers library does, with a budget."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _GenerationTag])
        del self.globals["lipsum"]
        for name in _UNUSED_FILTERS:
            del self.filters[name]
        for name in ("indent", "replace", "join", "truncate", "string"):
            self.filters[name] = _charged_filter(self.filters[name])
        self.filters["tojson"] = _to_json
        self.globals["raise_exception"] = _raise_exception
        self.globals["range"] = _charged_range

    def concat(self, texts: Iterable[str]) -> str:
        """Jinja joins the pieces of a block, a macro or the whole output with this."""
        pieces = texts if isinstance(texts, list) else list(texts)
        _BUDGET.get().make(sum(map(len, pieces)))
        return "".join(pieces)

    def join_texts(self, *values: object) -> str:
        return self.concat([str(value) for value in values])

    def charge_step(self) -> str:
        _BUDGET.get().step()
        return ""

    def charged(self, template: nodes.Template) -> nodes.Template:
        """The parsed template with charges in it."""
        changed: nodes.Template = _Charging().visit(template)
        return changed

    def unsafe_undefined(self, obj: Any, attribute: str) -> Undefined:
        """Jinja would only complain once the value is used, and printing it is no use."""
        raise SecurityError(f"it reaches for {attribute!r} of a {type(obj).__name__}")

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "%" and isinstance(left, str) and _WIDE_FORMAT.search(left):
            raise SecurityError("it formats with too large a width")
        if operator in ("*", "**") and isinstance(left, int) and isinstance(right, int):
            bits = left.bit_length() * right if operator == "**" else left.bit_length() + right.bit_length()
            if bits > _MAX_INTEGER_BITS:
                raise SecurityError("it computes with too large a number")
        elif operator == "*":
            sequence, count = (left, right) if hasattr(left, "__len__") else (right, left)
            if hasattr(sequence, "__len__") and isinstance(count, int):
                _BUDGET.get().make(len(sequence) * max(count, 0))
        value = super().call_binop(context, operator, left, right)
        if hasattr(value, "__len__"):
            _BUDGET.get().make(len(value))
        return value

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        owner = getattr(getattr(__obj, "__wrapped__", __obj), "__self__", None)
        if isinstance(owner, str):
            _check_string_call(owner, __obj.__name__, args, kwargs)
        value = super().call(__context, __obj, *args, **kwargs)
        if isinstance(value, str | list):
            _BUDGET.get().make(len(value))
        return value


def _charged_range(*bounds: int) -> range:
    numbers = range(*bounds)
    _BUDGET.get().step(min(len(numbers), MAX_STEPS + 1))
    return numbers


def _check_string_call(owner: str, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    arguments = [*args, *kwargs.values()]
    if any(isinstance(value, int) and abs(value) > _MAX_WIDTH for value in arguments):
        raise SecurityError(f"it calls {method} with too large a number")
    if method in ("format", "format_map") and _WIDE_FORMAT.search(owner):
        raise SecurityError("it formats with too large a width")
    if method == "replace":
        _BUDGET.get().make((len(owner) + 1) * max(len(str(value)) for value in (*arguments, "")))
    if method == "join":
        _BUDGET.get().make(len(owner) * sum(len(value) for value in arguments if hasattr(value, "__len__")))


def _charged_filter(function: Callable[..., Any]) -> Callable[..., Any]:
    """The filter with its numbers bounded and its text charged, before and after."""

    def charged(*args: Any, **kwargs: Any) -> Any:
        values = [*args, *kwargs.values()]
        if any(isinstance(value, int) and abs(value) > _MAX_WIDTH for value in values):
            raise SecurityError("it calls a filter with too large a number")
        lengths = [len(value) + 1 for value in values if isinstance(value, str | list | tuple)]
        product = 1
        for length in sorted(lengths)[-2:]:
            product *= length
        if product > MAX_CHARACTERS:
            raise SecurityError("it makes too much text")
        result = function(*args, **kwargs)
        if isinstance(result, str):
            _BUDGET.get().make(len(result))
        return result

    for mark in ("jinja_pass_arg", "contextfilter"):  # how Jinja knows what a filter wants as its first argument
        if hasattr(function, mark):
            setattr(charged, mark, getattr(function, mark))
    return charged


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Plain JSON, unlike Jinja's own filter, which escapes for HTML."""
    if isinstance(indent, int) and indent > _MAX_WIDTH:
        raise SecurityError("it calls a filter with too large a number")
    text = json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
    _BUDGET.get().make(len(text))
    return text


def _raise_exception(message: object = "no reason given") -> str:
    raise Refusal(str(message))
