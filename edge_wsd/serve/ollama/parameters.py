"""What a request's options, format and wishes mean, in the terms that both interfaces share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from edge_wsd.errors import OptionError
from edge_wsd.prompts.messages import Message
from edge_wsd.prompts.tools import Tool
from edge_wsd.serve.ollama.options import OllamaOptions, schema_of
from edge_wsd.serve.ollama.wire import OllamaAsked
from edge_wsd.serve.openai.asking import ChatQuestion, chat_question
from edge_wsd.serve.openai.choice import Details
from edge_wsd.serve.openai.parameters import Parameters
from edge_wsd.serve.openai.tools import ToolsAsked
from edge_wsd.serve.served_models import Served


@dataclass(frozen=True, slots=True)
class OllamaWishes:
    """How an answer is wanted, and what is to be told besides its text."""

    parameters: Parameters
    details: Details
    schema: dict[str, Any] | None
    more: dict[str, Any] = field(default_factory=dict)
    """Options of the library that OpenAI's parameters have no name for."""

    @classmethod
    def of(cls, asked: OllamaAsked, tools: tuple[Tool, ...] = (), *, special: bool = False) -> OllamaWishes:
        """`special` makes control tokens of texts like <|im_end|>. Raises `OptionError` for what the library lacks."""
        if asked.think:
            name = repr(asked.wanted) if asked.wanted else "this server"
            raise OptionError(f"{name} does not support thinking: leave think out, or set it to false")
        changes = (asked.options or OllamaOptions()).changes()
        more: dict[str, Any] = {"special": special}
        if "repeat_last_n" in changes:
            more["repeat_last_n"] = changes.pop("repeat_last_n")
        n_top = asked.top_logprobs or 0 if asked.logprobs else None
        details = Details(tools, n_top, asked.edge_wsd is not None)
        return cls(Parameters(**changes, edge_wsd=asked.edge_wsd), details, schema_of(asked.format), more)

    def question(self, served: Served, messages: Sequence[Message]) -> ChatQuestion:
        """What the pair is asked. Raises `OptionError`."""
        tools = ToolsAsked(self.details.tools)
        return chat_question(served, self.parameters, messages, tools, self.schema, self.details, **self.more)
