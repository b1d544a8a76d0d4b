"""`/v1/responses`: OpenAI's newer form of the same answers. Nothing is stored."""

from __future__ import annotations

import json
import time
from asyncio import to_thread
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import partial

from fastapi import APIRouter, Request
from starlette.responses import Response

from edge_wsd.decoding.events import Reply
from edge_wsd.decoding.options import Options
from edge_wsd.serve.errors import OPENAI_ERRORS, ClientGone, RequestError, failure_of, openai_error
from edge_wsd.serve.extension import extension_of_reply
from edge_wsd.serve.openai.asking import ChatQuestion, begun, chat_question, events, replies, started
from edge_wsd.serve.openai.choice import ChoiceWriter, Details, whole_pieces
from edge_wsd.serve.openai.head import Head
from edge_wsd.serve.openai.response_input import flat_tools, input_messages
from edge_wsd.serve.openai.response_types import (
    InputTokensDetails,
    OutputTokensDetails,
    ResponseEvent,
    ResponseObject,
    ResponsesRequest,
    ResponseStatus,
    ResponseUsage,
    TextSettings,
)
from edge_wsd.serve.openai.response_writer import ResponseWriter
from edge_wsd.serve.openai.tools import ToolsAsked, asked_tools, most_calls, schema_of_format
from edge_wsd.serve.openai.usage import usage_of
from edge_wsd.serve.served_models import Served
from edge_wsd.serve.state import serve_of
from edge_wsd.serve.streaming import SSE, live_response

router = APIRouter(responses=OPENAI_ERRORS)
_LOGPROBS = "message.output_text.logprobs"


@router.post(
    "/v1/responses",
    response_model=ResponseObject,
    responses={200: {"content": {SSE: {}}, "description": "With stream: events."}},
)
async def responses(request: Request, body: ResponsesRequest) -> Response:
    """Answers a text or a conversation, as OpenAI's interface of this name does."""
    answering = ResponseAnswering.of(body)
    if body.stream:
        return await live_response(request, answering.lines(request))
    async with serve_of(request).answering(request, body.model) as served:
        question = await to_thread(answering.question, served)
        (reply,) = await replies(request, question, await started(request, served, question))
    for piece in whole_pieces(reply, answering.details):
        answering.writer.add(piece)
    whole = answering.complete(served.name, question.options, reply)
    return Response(whole.model_dump_json(exclude_unset=True), media_type="application/json")


@dataclass
class ResponseAnswering:
    """A request whose fields are known to make sense, and what has been written so far."""

    body: ResponsesRequest
    tools: ToolsAsked
    details: Details
    writer: ResponseWriter = field(default_factory=ResponseWriter)
    head: Head = field(default_factory=partial(Head.new, "resp_"))

    @classmethod
    def of(cls, body: ResponsesRequest) -> ResponseAnswering:
        """Raises `RequestError`."""
        for name in ("previous_response_id", "conversation", "prompt", "background"):
            if getattr(body, name):
                raise RequestError(
                    f"{name}: nothing is stored here; send the whole conversation as input and wait for the answer",
                    code="unsupported_value",
                    param=name,
                )
        tools = asked_tools(flat_tools(body.tools), body.tool_choice)
        wants_logprobs = _LOGPROBS in (body.include or ()) or bool(body.top_logprobs)
        n_top = body.top_logprobs or 0 if wants_logprobs else None
        most = most_calls(body.parallel_tool_calls)
        return cls(body, tools, Details(tools.tools, n_top, body.edge_wsd is not None, most))

    def question(self, served: Served) -> ChatQuestion:
        """What the pair is asked. In a thread, as a schema may take its time. Raises `RequestError`."""
        body = self.body
        messages = input_messages(body.input, body.instructions)
        schema = schema_of_format(body.text.format if body.text else None, "text.format")
        question = chat_question(served, body, messages, self.tools, schema, self.details)
        return replace(question, may_drop=body.truncation != "disabled")

    async def lines(self, request: Request) -> AsyncGenerator[bytes, None]:
        """The events. An error behind the first of them is an event of its own."""
        has_begun = False
        try:
            async with aclosing(self._events(request)) as told:
                async for event in told:
                    has_begun = True
                    yield _line(event)
        except ClientGone:
            raise
        except Exception as error:
            if not has_begun:
                raise
            yield self._failed(error)

    async def _events(self, request: Request) -> AsyncGenerator[ResponseEvent, None]:
        async with serve_of(request).answering(request, self.body.model) as served:
            question = await to_thread(self.question, served)
            (stream,) = await started(request, served, question)
            choice = ChoiceWriter(self.details)
            kinds = ["response.created", "response.in_progress"]
            async with aclosing(begun(events(request, question, [stream]))) as told:
                async for item in told:
                    while kinds:
                        so_far = self._object(served.name, question.options, "in_progress")
                        yield self.writer.event(kinds.pop(0), response=so_far)
                    for piece in () if item is None else choice.pieces(item[1]):
                        for event in self.writer.pieces(piece):
                            yield event
            assert choice.reply is not None
            whole = self.complete(served.name, question.options, choice.reply)
            yield self.writer.event(f"response.{whole.status}", response=whole)

    def complete(self, model: str, options: Options, reply: Reply) -> ResponseObject:
        """The whole answer."""
        is_cut = reply.finish_reason == "length"
        whole = self._object(model, options, "incomplete" if is_cut else "completed")
        if is_cut:
            whole.incomplete_details = {"reason": "max_output_tokens"}
        usage = usage_of([reply], [reply])
        whole.usage = ResponseUsage(
            input_tokens=usage.prompt_tokens,
            input_tokens_details=InputTokensDetails(
                cached_tokens=usage.prompt_tokens_details.cached_tokens, cache_write_tokens=0
            ),
            output_tokens=usage.completion_tokens,
            output_tokens_details=OutputTokensDetails(reasoning_tokens=0),
            total_tokens=usage.total_tokens,
        )
        if self.details.extension:
            whole.edge_wsd = extension_of_reply(reply)
        return whole

    def _object(self, model: str, options: Options, status: ResponseStatus) -> ResponseObject:
        body = self.body
        return ResponseObject(
            id=self.head.id,
            object="response",
            created_at=self.head.created,
            completed_at=int(time.time()) if status == "completed" else None,
            status=status,
            background=False,
            error=None,
            incomplete_details=None,
            instructions=body.instructions,
            max_output_tokens=body.max_output_tokens,
            metadata=body.metadata or {},
            model=model,
            output=self.writer.output,
            parallel_tool_calls=body.parallel_tool_calls is not False,
            previous_response_id=None,
            store=False,
            temperature=options.temperature,
            presence_penalty=options.presence_penalty,
            frequency_penalty=options.frequency_penalty,
            text=self._text_settings(),
            tool_choice=body.tool_choice or "auto",
            tools=body.tools or [],
            top_p=options.top_p,
            top_logprobs=body.top_logprobs or 0,
            truncation=body.truncation or "auto",
            usage=None,
        )

    def _text_settings(self) -> TextSettings:
        settings = self.body.text or TextSettings()
        return settings if settings.format else settings.model_copy(update={"format": {"type": "text"}})

    def _failed(self, error: Exception) -> bytes:
        """In the form of an event, and in that of an error elsewhere, by which the clients know it."""
        failure = failure_of(error)
        detail = openai_error(failure)["error"]
        event = self.writer.event("error").model_dump(exclude_unset=True)
        told = {**event, "code": failure.code, "message": failure.message, "param": failure.param, "error": detail}
        return b"event: error\ndata: " + json.dumps(told).encode() + b"\n\n"


def _line(event: ResponseEvent) -> bytes:
    return f"event: {event.type}\ndata: {event.model_dump_json(exclude_unset=True)}\n\n".encode()
