"""`/api/chat` and `/api/generate`."""

from __future__ import annotations

from asyncio import to_thread
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from edge_wsd._native import CancelFlag
from edge_wsd.engine.stream import Stream
from edge_wsd.prompts.messages import Message
from edge_wsd.prompts.tools import parse_tools
from edge_wsd.serve.errors import OLLAMA_ERRORS
from edge_wsd.serve.ollama.answer import AnswerLines
from edge_wsd.serve.ollama.conversation import messages_of_chat, messages_of_prompt, refuse_unknown
from edge_wsd.serve.ollama.parameters import OllamaWishes
from edge_wsd.serve.ollama.respond import load, respond
from edge_wsd.serve.ollama.wire import (
    OllamaAnswer,
    OllamaAsked,
    OllamaChatAnswer,
    OllamaChatRequest,
    OllamaGenerateAnswer,
    OllamaGenerateRequest,
    OllamaReplyMessage,
    OllamaToolCall,
)
from edge_wsd.serve.openai.asking import started
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
    tools = await to_thread(parse_tools, asked.tools or ())  # of which there may be many, as of messages
    wishes = OllamaWishes.of(asked, tools)
    answer = AnswerLines(_name(request, asked), _chat_answer, wishes.details)
    if not asked.messages:
        return await load(request, asked, answer)
    messages = await to_thread(messages_of_chat, asked.messages)
    return await respond(request, asked, answer, lambda served: _begun(request, served, wishes, messages))


@router.post("/generate", responses=_documented(OllamaGenerateAnswer))
async def generate(request: Request, asked: OllamaGenerateRequest) -> Response:
    """The answer to one prompt. Without a prompt the pair is loaded."""
    refuse_unknown(asked)
    wishes = OllamaWishes.of(asked, special=bool(asked.raw))  # who writes the template writes its tokens
    answer = AnswerLines(_name(request, asked), _generate_answer, wishes.details)
    if not asked.prompt:
        return await load(request, asked, answer)
    messages, prompt = messages_of_prompt(asked), asked.prompt

    async def begun_raw(served: Served) -> Stream:
        limits = serve_of(request).limits

        def begin(cancel: CancelFlag) -> Stream:
            limits.check_prompt(served.pair, [prompt], cancel)
            return served.pair.complete(prompt, wishes.question(served, messages).options, cancel=cancel)

        return await limits.in_thread(request.state.slot, begin)

    if asked.raw:
        return await respond(request, asked, answer, begun_raw)
    return await respond(request, asked, answer, lambda served: _begun(request, served, wishes, messages))


def _name(request: Request, asked: OllamaAsked) -> str:
    """As the client gave it."""
    return asked.wanted or serve_of(request).models.default_name


async def _begun(request: Request, served: Served, wishes: OllamaWishes, messages: Sequence[Message]) -> Stream:
    question = await to_thread(wishes.question, served, messages)  # a schema may take its time
    (stream,) = await started(request, served, question)
    return stream


def _chat_answer(text: str, calls: Sequence[OllamaToolCall], fields: dict[str, Any]) -> OllamaAnswer:
    message = OllamaReplyMessage(role="assistant", content=text)
    if calls:
        message.tool_calls = [*calls]
    return OllamaChatAnswer(message=message, **fields)


def _generate_answer(text: str, _calls: Sequence[OllamaToolCall], fields: dict[str, Any]) -> OllamaAnswer:
    return OllamaGenerateAnswer(response=text, **fields)
