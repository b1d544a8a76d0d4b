"""An answer in Ollama's form: whole, or a line of JSON for each piece of text."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from edge_wsd.decoding.events import Event, Finished, Reply, Token
from edge_wsd.prompts.tool_calls import ToolCallReader
from edge_wsd.prompts.tools import ToolCall
from edge_wsd.serve.durations import nanoseconds
from edge_wsd.serve.extension import Extension, extension_of_event, extension_of_reply
from edge_wsd.serve.ollama.wire import DoneReason, OllamaAnswer
from edge_wsd.serve.openai.choice import end_of


@dataclass(frozen=True, slots=True)
class AnswerLines:
    """How one request is answered. `shape` makes the model of an answer of its text, its calls and other fields."""

    model: str
    shape: Callable[[str, Sequence[ToolCall], dict[str, Any]], OllamaAnswer]
    extends: bool
    """Whether the field `edge_wsd` was asked for."""
    tools: ToolCallReader | None = None
    """Finds calls in the text, if there are tools to be called."""
    began: float = field(default_factory=time.perf_counter)

    def without_text(self, reason: DoneReason) -> OllamaAnswer:
        """Of a request that only loads or unloads."""
        return self._made([], done=True, done_reason=reason)

    def whole(self, reply: Reply, load_s: float) -> OllamaAnswer:
        """The answer to a request that asks for no stream. Raises `RequestError` if the server ended it."""
        parts = [*self._parts(reply.text), *self._rest()]
        return self._made(parts, extension_of_reply(reply), **self._ending(reply, load_s))

    def line(self, event: Event, load_s: float) -> OllamaAnswer | None:
        """None for an event that this client has not asked to hear of. Raises `RequestError` if the server ended it."""
        if isinstance(event, Finished):
            return self._made(self._rest(), extension_of_event(event), **self._ending(event.reply, load_s))
        parts = self._parts(event.text) if isinstance(event, Token) else []
        if not parts and not self.extends:
            return None
        return self._made(parts, extension_of_event(event), done=False)

    def _parts(self, text: str) -> Sequence[str | ToolCall]:
        if self.tools is not None:
            return self.tools.feed(text)
        return [text] if text else []

    def _rest(self) -> Sequence[str | ToolCall]:
        return [] if self.tools is None else self.tools.end()

    def _made(self, parts: Sequence[str | ToolCall], extension: Extension | None = None, **fields: Any) -> OllamaAnswer:
        if self.extends and extension is not None:
            fields["edge_wsd"] = extension
        text = "".join(part for part in parts if isinstance(part, str))
        calls = [part for part in parts if isinstance(part, ToolCall)]
        return self.shape(text, calls, {"model": self.model, "created_at": datetime.now(timezone.utc), **fields})

    def _ending(self, reply: Reply, load_s: float) -> dict[str, Any]:
        stats = reply.stats
        read_s = max(0.0, stats.ttft_s - stats.queued_s)
        return {
            "done": True,
            "done_reason": end_of(reply, 0),
            "total_duration": nanoseconds(time.perf_counter() - self.began),
            "load_duration": nanoseconds(load_s),
            "prompt_eval_count": stats.base_prompt_tokens or stats.drafter_prompt_tokens,
            "prompt_eval_duration": nanoseconds(read_s),
            "eval_count": stats.n_tokens,
            "eval_duration": nanoseconds(stats.total_s - stats.ttft_s),
        }


def as_json(answer: OllamaAnswer) -> bytes:
    """With what is there, nulls inside the extension included."""
    return answer.model_dump_json(exclude_unset=True).encode()
