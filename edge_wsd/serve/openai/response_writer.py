"""The output of `/v1/responses`: items that are opened, filled and closed, and the events that tell of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from edge_wsd.prompts.tools import ToolCall
from edge_wsd.serve.extension import Extension
from edge_wsd.serve.openai.chat_types import TokenLogprob
from edge_wsd.serve.openai.choice import AnswerPiece
from edge_wsd.serve.openai.head import new_id
from edge_wsd.serve.openai.response_types import OutputCall, OutputMessage, OutputText, ResponseEvent, ResponseStatus

_PART = {"content_index": 0}  # a message has one part


class ResponseWriter:
    """Makes items of the pieces of one answer."""

    def __init__(self) -> None:
        self.output: list[OutputMessage | OutputCall] = []
        self._open: OutputMessage | None = None
        self._n_events = 0

    def event(self, kind: str, **more: Any) -> ResponseEvent:
        """The next event of the stream."""
        self._n_events += 1
        return ResponseEvent(type=kind, sequence_number=self._n_events - 1, **more)

    def pieces(self, piece: AnswerPiece) -> Iterator[ResponseEvent]:
        """What a piece of the answer changes; at the end all items are closed, and there is at least one."""
        is_end = piece.finish_reason is not None
        if piece.call is not None:
            yield from self._close("completed")
            yield from self._call(piece.call)
        elif piece.text or piece.logprobs or (piece.extension is not None and not is_end):
            yield from self._text(piece.text, list(piece.logprobs), piece.extension)
        if is_end:
            if not self.output:
                yield from self._opened()
            yield from self._close("incomplete" if piece.finish_reason == "length" else "completed")

    def add(self, piece: AnswerPiece) -> None:
        """The same where nobody hears of it."""
        for _ in self.pieces(piece):
            pass

    def _opened(self) -> Iterator[ResponseEvent]:
        message = OutputMessage(type="message", id=new_id("msg_"), status="in_progress", role="assistant", content=[])
        yield self.event("response.output_item.added", output_index=len(self.output), item=message.model_copy())
        part = OutputText(type="output_text", text="", annotations=[], logprobs=[])
        yield self.event(
            "response.content_part.added", output_index=len(self.output), item_id=message.id, part=part, **_PART
        )
        message.content = [part.model_copy(update={"logprobs": []})]
        self._open = message
        self.output.append(message)

    def _text(self, text: str, logprobs: list[TokenLogprob], extension: Extension | None) -> Iterator[ResponseEvent]:
        if self._open is None:
            yield from self._opened()
        assert self._open is not None
        part = self._open.content[0]
        part.text += text
        part.logprobs += logprobs
        delta = self.event("response.output_text.delta", **self._place, **_PART, delta=text, logprobs=logprobs)
        if extension is not None:
            delta.edge_wsd = extension
        yield delta

    def _close(self, status: ResponseStatus) -> Iterator[ResponseEvent]:
        if self._open is None:
            return
        part, place = self._open.content[0], self._place
        yield self.event("response.output_text.done", **place, **_PART, text=part.text, logprobs=part.logprobs)
        yield self.event("response.content_part.done", **place, **_PART, part=part)
        self._open.status = status
        yield self.event("response.output_item.done", output_index=place["output_index"], item=self._open)
        self._open = None

    def _call(self, call: ToolCall) -> Iterator[ResponseEvent]:
        item = OutputCall(
            type="function_call",
            id=new_id("fc_"),
            call_id=call.id,
            status="in_progress",
            name=call.name,
            arguments="",
        )
        index = len(self.output)
        self.output.append(item)
        yield self.event("response.output_item.added", output_index=index, item=item.model_copy())
        item.status, item.arguments = "completed", call.arguments_text
        place = {"output_index": index, "item_id": item.id}
        yield self.event("response.function_call_arguments.delta", **place, delta=item.arguments)
        yield self.event("response.function_call_arguments.done", **place, name=item.name, arguments=item.arguments)
        yield self.event("response.output_item.done", output_index=index, item=item)

    @property
    def _place(self) -> dict[str, Any]:
        assert self._open is not None
        return {"output_index": len(self.output) - 1, "item_id": self._open.id}
