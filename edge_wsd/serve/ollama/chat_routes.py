"""`/api/chat` and `/api/generate`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from edge_wsd.engine.stream import Stream
from edge_wsd.prompts.tool_calls import ToolCallReader
from edge_wsd.prompts.tools import ToolCall, parse_tools
from edge_wsd.serve.errors import OLLAMA_ERRORS
from edge_wsd.serve.ollama.answer import AnswerLines
from edge_wsd.serve.ollama.conversation import messages_of_chat, messages_of_prompt, refuse_unknown
from edge_wsd.serve.ollama.request import options_of
from edge_wsd.serve.ollama.respond import load, respond
from edge_wsd.serve.ollama.wire import (
    OllamaAnswer,
    OllamaChatAnswer,
    OllamaChatRequest,
    OllamaFunction,
    OllamaGenerateAnswer,
    OllamaGenerateRequest,
    OllamaReplyMessage,
    OllamaToolCall,
)
from edge_wsd.serve.served_models import Served
from edge_wsd.serve.state import serve_of
from edge_wsd.serve.streaming import NDJSON

router = APIRouter(prefix="/api", tags=["Ollama"], responses=OLLAMA_ERRORS)


def _documented(model: type[OllamaAnswer]) -> dict[int | str, dict[str, Any]]:
    schema = {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}
    return {200: {"model": model, "content": {NDJSON: schema}, "description": "A line for each piece of text, or one."}}


@router.post("/chat", responses=_documented(OllamaChatAnswer))
async def chat(request: Request, asked: OllamaChatRequest) -> Response:
    """The next message of a conversation. Without messages the pair is loaded."""
    tools = parse_tools(asked.tools or ())
    reader = ToolCallReader([tool.name for tool in tools]) if tools else None
    form = AnswerLines(asked.wanted, _chat_answer, asked.edge_wsd is not None, reader)
    if not asked.messages:
        return await load(request, asked, form)
    messages = messages_of_chat(asked)

    def begin(served: Served) -> Stream:
        _check_prompt(request, served, messages)
        options = options_of(asked, served.pair.options, served.mode)
        return served.pair.session(options=options, messages=messages, tools=tools).stream()

    return await respond(request, asked, form, begin)


@router.post("/generate", responses=_documented(OllamaGenerateAnswer))
async def generate(request: Request, asked: OllamaGenerateRequest) -> Response:
    """The answer to one prompt. Without a prompt the pair is loaded."""
    form = AnswerLines(asked.wanted, _generate_answer, asked.edge_wsd is not None)
    refuse_unknown(asked)
    if not asked.prompt:
        return await load(request, asked, form)
    prompt = asked.prompt
    messages = messages_of_prompt(asked)

    def begin(served: Served) -> Stream:
        _check_prompt(request, served, messages)
        options = options_of(asked, served.pair.options, served.mode)
        if asked.raw:
            return served.pair.complete(prompt, options)
        return served.pair.session(options=options, messages=messages).stream()

    return await respond(request, asked, form, begin)


def _check_prompt(request: Request, served: Served, messages: list[dict[str, Any]]) -> None:
    serve_of(request).limits.check_prompt(served.pair, [message["content"] for message in messages])


def _chat_answer(text: str, calls: Sequence[ToolCall], fields: dict[str, Any]) -> OllamaAnswer:
    message = OllamaReplyMessage(role="assistant", content=text)
    if calls:
        functions = [OllamaFunction(name=call.name, arguments=dict(call.arguments)) for call in calls]
        message.tool_calls = [OllamaToolCall(function=function) for function in functions]
    return OllamaChatAnswer(message=message, **fields)


def _generate_answer(text: str, _calls: Sequence[ToolCall], fields: dict[str, Any]) -> OllamaAnswer:
    return OllamaGenerateAnswer(response=text, **fields)
