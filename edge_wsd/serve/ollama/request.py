"""What all requests for an answer have in common: options, and how long the pair stays loaded."""

from __future__ import annotations

from typing import Any

from edge_wsd.decoding.options import Mode, Options
from edge_wsd.errors import OptionError
from edge_wsd.serve.ollama.options import OllamaOptions, schema_of
from edge_wsd.serve.ollama.wire import OllamaAsked
from edge_wsd.serve.openai.parameters import Parameters


def options_of(asked: OllamaAsked, default: Options, mode: Mode) -> Options:
    """`default` with what is asked for. Raises `OptionError`."""
    if asked.think:
        raise OptionError("think is not supported: no model here has thoughts apart from its answer")
    changes = (asked.options or OllamaOptions()).changes()
    more: dict[str, Any] = {}
    if "repeat_last_n" in changes:
        more["repeat_last_n"] = changes.pop("repeat_last_n")
    schema = schema_of(asked.format)
    if schema is not None:
        more |= {"json_schema": schema, "grammar_from": "start"}
    return Parameters(**changes, edge_wsd=asked.edge_wsd).options(default, mode, **more)
