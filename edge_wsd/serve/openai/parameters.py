"""Parameters that OpenAI's requests have in common, and the options of the library that they stand for.

>>> Parameters(temperature=0.7, max_completion_tokens=100).options(Options(), "wsd").max_tokens
100
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, cast

from pydantic import BaseModel, Field

from edge_wsd.checks import LARGEST
from edge_wsd.decoding.options import N_SEEDS, Mode, OptionChanges, Options
from edge_wsd.errors import OptionError
from edge_wsd.serve.errors import RequestError
from edge_wsd.serve.extension import ExtensionRequest, biases_of, extended
from edge_wsd.serve.openai.tools import must_call

_SMALLEST_TOP_P = 1e-6
"""Keeps one token, as 0 does for OpenAI."""


class Parameters(BaseModel):
    """Null means the same as absent: what the pair is set to. Unknown fields are ignored, as other servers do.

    `top_k`, `min_p` and `repeat_penalty` are not OpenAI's, but llama.cpp's, vLLM's and Ollama's; `grammar` and
    `json_schema` are llama.cpp's, and hold from the first token on.
    """

    temperature: float | None = Field(
        default=None, description="0 is greedy, between 0 and 10. Absent: the pair's own."
    )
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    seed: int | None = Field(default=None, description="The same seed gives the same answer; -1 or absent draws one.")
    stop: str | list[str] | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repeat_penalty: float | None = None
    grammar: str | None = Field(default=None, description="GBNF that the answer must follow.")
    json_schema: dict[str, Any] | None = Field(default=None, description="As response_format asks for one.")
    logit_bias: dict[str, float] | None = Field(default=None, description="By token id of the base, or by text.")
    max_tokens: int | None = Field(default=None, description="Absent or -1: as many as the context holds.")
    max_completion_tokens: int | None = Field(
        default=None, description="OpenAI's new name of max_tokens, and preferred to it."
    )
    edge_wsd: ExtensionRequest | None = None

    @property
    def limit(self) -> tuple[str, int | None]:
        """The field that says how long the answer may be, and what it says."""
        if self.max_completion_tokens is not None:
            return "max_completion_tokens", self.max_completion_tokens
        return "max_tokens", self.max_tokens

    @property
    def schema_field(self) -> str:
        """Which field holds the answer to a schema."""
        return "json_schema"

    @contextmanager
    def naming_fields(self) -> Iterator[None]:
        """An `OptionError` of the block becomes a `RequestError` that names the field as it was sent."""
        try:
            yield
        except OptionError as error:
            option, _, cause = str(error).partition(" ")  # every message about an option begins with its name
            if (field := self._field_of(option)) is None:
                raise
            text = f"{field}: {error}" if option == "json_schema" != field else f"{field} {cause}"
            raise RequestError(text, code="invalid_value", param=field) from error

    def _field_of(self, option: str) -> str | None:
        """Which field the option is from; None if it is not from this request."""
        if option in (self.edge_wsd or {}):
            return f"edge_wsd.{option}"
        renamed = {"max_tokens": self.limit[0], "json_schema": self.schema_field}
        return renamed.get(option, option if option in type(self).model_fields else None)

    def options(self, default: Options, mode: Mode, **more: Any) -> Options:
        """`default` with what is given here. `more` are options that the kind of the request asks for.

        Those under `edge_wsd` come last. Raises `OptionError`.
        """
        changes: dict[str, Any] = {"mode": mode, "max_tokens": self._most_tokens(default), **more}
        for name in ("temperature", "top_k", "min_p", "presence_penalty", "frequency_penalty", "repeat_penalty"):
            if (value := getattr(self, name)) is not None:
                changes[name] = value
        for name in ("grammar", "json_schema"):
            if value := getattr(self, name):  # an empty one is none, as for llama.cpp's server
                if not more.keys().isdisjoint(("grammar", "json_schema")):
                    raise OptionError(f"{name} cannot be used together with response_format or tool_choice; give one")
                changes.update({name: value, "grammar_from": "start"})
        if self.top_p is not None:
            changes["top_p"] = self.top_p or _SMALLEST_TOP_P
        if self.seed is not None:
            changes["seed"] = None if self.seed == -1 else self.seed % N_SEEDS
        if self.stop:
            changes["stop"] = self.stop
        if self.logit_bias:
            changes["logit_bias"] = biases_of(self.logit_bias)
        return extended(self.edge_wsd, default.with_changes(**cast(OptionChanges, changes)))

    def _most_tokens(self, default: Options) -> int:
        """Where neither the request nor the pair's settings bound an answer, the context does."""
        _, given = self.limit
        if given is not None and given != -1:
            return given
        return LARGEST if default.max_tokens == Options.max_tokens else default.max_tokens


class ToolParameters(Parameters):
    """What requests have in common whose answers may be calls, or be held to a form."""

    FORMAT_FIELD: ClassVar[str]
    """Asks for a form of the answer."""

    tools: list[dict[str, Any]] | None = Field(default=None, description="Of type function.")
    tool_choice: str | dict[str, Any] | None = Field(
        default=None,
        description='"auto" (as null), "none", "required", one of the tools, or some of them (allowed_tools).',
    )
    parallel_tool_calls: bool | None = Field(default=None, description="False: what follows a first call is dropped.")

    @property
    def schema_field(self) -> str:
        if self.json_schema:
            return "json_schema"
        return "tools" if must_call(self.tool_choice) else self.FORMAT_FIELD
