"""`/v1/chat/completions`: whole answers, and answers in a stream."""

from __future__ import annotations

from asyncio import to_thread
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import partial

from fastapi import APIRouter, Request
from starlette.responses import Response

from edge_wsd.decoding.events import Reply
from edge_wsd.serve.errors import OPENAI_ERRORS, RequestError
from edge_wsd.serve.extension import Extension, extension_of_reply
from edge_wsd.serve.openai.asking import ChatQuestion, begun, chat_question, events, replies, started
from edge_wsd.serve.openai.chat_types import (
    AnswerDelta,
    ChatChoice,
    ChatChunk,
    ChatCompletion,
    ChatRequest,
    ChunkChoice,
    Usage,
)
from edge_wsd.serve.openai.choice import ChoiceWriter, Details, chunk_choice, whole_choice
from edge_wsd.serve.openai.head import Head
from edge_wsd.serve.openai.messages import messages_of
from edge_wsd.serve.openai.sse import data_line, ended_by_done
from edge_wsd.serve.openai.tools import ToolsAsked, asked_tools, most_calls, schema_of_format
from edge_wsd.serve.openai.usage import usage_of
from edge_wsd.serve.served_models import Served
from edge_wsd.serve.state import serve_of
from edge_wsd.serve.streaming import SSE, live_response

router = APIRouter(responses=OPENAI_ERRORS)


@router.post(
    "/v1/chat/completions",
    response_model=ChatCompletion,
    responses={200: {"content": {SSE: {}}, "description": "With stream: chunks."}},
)
async def chat_completions(request: Request, body: ChatRequest) -> Response:
    """Answers a conversation, as OpenAI's interface of this name does."""
    chat = ChatAnswering.of(body)
    if body.stream:
        return await live_response(request, ended_by_done(chat.chunks(request)))
    async with serve_of(request).answering(request, body.model) as served:
        question = await to_thread(chat.question, served)
        whole = await replies(request, question, await started(request, served, question))
    completion = chat.completion(served.name, whole)
    return Response(completion.model_dump_json(exclude_unset=True), media_type="application/json")


@dataclass(frozen=True)
class ChatAnswering:
    """A request whose fields are known to make sense, and the head that all parts of its answer share."""

    body: ChatRequest
    asked_tools: ToolsAsked
    details: Details
    head: Head = field(default_factory=partial(Head.new, "chatcmpl-"))

    @classmethod
    def of(cls, body: ChatRequest) -> ChatAnswering:
        """Raises `RequestError`."""
        if body.top_logprobs and not body.logprobs:
            raise RequestError("top_logprobs needs logprobs to be true", code="invalid_value", param="top_logprobs")
        for old, new in (("functions", "tools"), ("function_call", "tools with tool_choice")):
            if getattr(body, old):
                text = f"{old} is no longer understood: give {new} instead"
                raise RequestError(text, code="unsupported_parameter", param=old)
        tools = asked_tools(body.tools, body.tool_choice)
        n_top, most = body.top_logprobs or 0 if body.logprobs else None, most_calls(body.parallel_tool_calls)
        return cls(body, tools, Details(tools.tools, n_top, body.edge_wsd is not None, most))

    def question(self, served: Served) -> ChatQuestion:
        """What the pair is asked. In a thread, as a schema may take its time. Raises `RequestError`."""
        body = self.body
        messages, schema = messages_of(body.messages), schema_of_format(body.response_format, "response_format")
        return replace(chat_question(served, body, messages, self.asked_tools, schema, self.details), n=body.n or 1)

    def completion(self, model: str, whole: Sequence[Reply]) -> ChatCompletion:
        """The whole answer. With one choice the extension field stands at the top."""
        choices = [whole_choice(number, reply, self.details) for number, reply in enumerate(whole)]
        completion = ChatCompletion(
            **self.head.fields(model), object="chat.completion", choices=choices, usage=usage_of(whole[:1], whole)
        )
        if self.details.extension:
            holders: list[ChatCompletion | ChatChoice] = [completion] if len(whole) == 1 else [*choices]
            for holder, reply in zip(holders, whole, strict=True):
                holder.edge_wsd = extension_of_reply(reply)
        return completion

    async def chunks(self, request: Request) -> AsyncGenerator[bytes, None]:
        """Its lines."""
        async with serve_of(request).answering(request, self.body.model) as served:
            question = await to_thread(self.question, served)
            streams = await started(request, served, question)
            writers = [ChoiceWriter(self.details) for _ in streams]
            role = AnswerDelta(role="assistant", content="", refusal=None)
            firsts = [ChunkChoice(index=n, delta=role, logprobs=None, finish_reason=None) for n in range(len(streams))]
            async with aclosing(begun(events(request, question, streams))) as told:
                async for item in told:
                    while firsts:
                        yield self._line(served.name, [firsts.pop(0)])
                    if item is None:
                        continue
                    number, event = item
                    for piece in writers[number].pieces(event):
                        yield self._line(served.name, [chunk_choice(number, piece)], piece.extension)
            if self.body.tells_usage:
                whole = [writer.reply for writer in writers if writer.reply is not None]
                yield self._line(served.name, [], usage=usage_of(whole[:1], whole))

    def _line(
        self, model: str, choices: list[ChunkChoice], extension: Extension | None = None, usage: Usage | None = None
    ) -> bytes:
        chunk = ChatChunk(**self.head.fields(model), object="chat.completion.chunk", choices=choices)
        if self.body.tells_usage:
            chunk.usage = usage
        if extension is not None:
            chunk.edge_wsd = extension
        return data_line(chunk)
