"""An answer in Ollama's form: whole, or a line of JSON for each piece of text."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from edge_wsd.decoding.events import Event, Finished, Reply
from edge_wsd.prompts.tools import ToolCall
from edge_wsd.serve.durations import nanoseconds
from edge_wsd.serve.extension import Extension, extension_of_reply
from edge_wsd.serve.ollama.wire import DoneReason, OllamaAnswer, OllamaFunction, OllamaToolCall
from edge_wsd.serve.openai.chat_types import TokenLogprob
from edge_wsd.serve.openai.choice import AnswerPiece, ChoiceWriter, Details, end_of
from edge_wsd.serve.openai.logprobs import token_logprob

Shape = Callable[[str, Sequence[OllamaToolCall], dict[str, Any]], OllamaAnswer]
"""Makes an answer of its text, its calls and the fields that both kinds of answers have."""


@dataclass(frozen=True, slots=True)
class AnswerLines:
    """How one request is answered."""

    model: str
    shape: Shape
    details: Details
    began: float = field(default_factory=time.perf_counter)

    def without_text(self, reason: DoneReason) -> OllamaAnswer:
        """Of a request that only loads or unloads."""
        return self._made("", done=True, done_reason=reason)

    def whole(self, reply: Reply, load_s: float) -> OllamaAnswer:
        """The answer to a request that asks for no stream. Raises `RequestError` if the server ended it."""
        reader = self.details.reader()
        parts = [reply.text] if reader is None else [*reader.feed(reply.text), *reader.end()]
        text = "".join(part for part in parts if isinstance(part, str))
        called = [part for part in parts if isinstance(part, ToolCall)]
        calls = [_call(call, index) for index, call in enumerate(called)]
        n_top = self.details.logprobs
        logprobs = [] if n_top is None else [token_logprob(token, n_top) for token in reply.tokens]
        extension = extension_of_reply(reply) if self.details.extension else None
        return self._made(text, calls, logprobs, extension, **self._ending(reply, load_s))

    def writer(self) -> ChoiceWriter:
        """What makes pieces of the events of a stream."""
        return ChoiceWriter(self.details)

    def lines(self, writer: ChoiceWriter, event: Event, load_s: float) -> Iterator[OllamaAnswer]:
        """What an event adds to a stream. Raises `RequestError` if the server ended the answer."""
        for piece in writer.pieces(event):
            if piece.finish_reason is None:
                yield self._line(piece)
            elif isinstance(event, Finished):
                yield self._made("", extension=piece.extension, **self._ending(event.reply, load_s))

    def _line(self, piece: AnswerPiece) -> OllamaAnswer:
        calls = [] if piece.call is None else [_call(piece.call, piece.call_index)]
        return self._made(piece.text, calls, piece.logprobs, piece.extension, done=False)

    def _made(
        self,
        text: str,
        calls: Sequence[OllamaToolCall] = (),
        logprobs: Sequence[TokenLogprob] = (),
        extension: Extension | None = None,
        **fields: Any,
    ) -> OllamaAnswer:
        if logprobs:
            fields["logprobs"] = list(logprobs)
        if extension is not None:
            fields["edge_wsd"] = extension
        return self.shape(text, calls, {"model": self.model, "created_at": datetime.now(timezone.utc), **fields})

    def _ending(self, reply: Reply, load_s: float) -> dict[str, Any]:
        stats = reply.stats
        return {
            "done": True,
            "done_reason": end_of(reply, 0),
            "total_duration": nanoseconds(time.perf_counter() - self.began),
            "load_duration": nanoseconds(load_s),
            "prompt_eval_count": stats.base_prompt_tokens or stats.drafter_prompt_tokens,
            "prompt_eval_duration": nanoseconds(stats.ttft_s - stats.queued_s),
            "eval_count": stats.n_tokens,
            "eval_duration": nanoseconds(stats.total_s - stats.ttft_s),
        }


def _call(call: ToolCall, index: int) -> OllamaToolCall:
    function = OllamaFunction(index=index, name=call.name, arguments=dict(call.arguments))
    return OllamaToolCall(id=call.id, function=function)


def as_json(answer: OllamaAnswer) -> bytes:
    """With what is there, nulls inside the extension included."""
    return answer.model_dump_json(exclude_unset=True).encode()
