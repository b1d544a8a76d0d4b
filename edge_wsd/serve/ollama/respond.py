"""From a request to its answer: whole, or line by line as newline-delimited JSON; or a pair is loaded or unloaded."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from types import EllipsisType

from fastapi import Request
from starlette.responses import Response

from edge_wsd.decoding.events import Finished
from edge_wsd.engine.stream import Stream
from edge_wsd.serve.durations import keep_alive_seconds
from edge_wsd.serve.errors import ClientGone
from edge_wsd.serve.ollama.answer import AnswerLines, as_json
from edge_wsd.serve.ollama.wire import OllamaAsked
from edge_wsd.serve.openai.asking import begun
from edge_wsd.serve.served_models import Served
from edge_wsd.serve.state import serve_of
from edge_wsd.serve.streaming import NDJSON, live_response

Begin = Callable[[Served], Awaitable[Stream]]
"""Starts the answer with the pair that was asked for."""


async def respond(request: Request, asked: OllamaAsked, answer: AnswerLines, begin: Begin) -> Response:
    """The answer to what `begin` asks the pair. Raises what goes wrong before the first event."""
    serve = serve_of(request)
    answering = serve.answering(request, asked.wanted or None, _keep_alive(asked))
    if asked.stream is not False:
        return await live_response(request, _lines(request, answering, answer, begin), NDJSON)
    async with answering as served:
        load_s = time.perf_counter() - answer.began
        async with aclosing(serve.limits.events(request, await begin(served))) as told:
            async for event in told:
                if isinstance(event, Finished):
                    return Response(as_json(answer.whole(event.reply, load_s)), media_type="application/json")
    raise ClientGone("the client left")


async def _lines(
    request: Request, answering: AbstractAsyncContextManager[Served], answer: AnswerLines, begin: Begin
) -> AsyncGenerator[bytes, None]:
    limits = serve_of(request).limits
    async with answering as served:
        load_s = time.perf_counter() - answer.began
        stream = await begin(served)
        writer = answer.writer()
        async with aclosing(begun(limits.events(request, stream))) as told:
            async for event in told:
                if event is None:
                    yield b""  # what goes wrong before this is an answer of its own
                    continue
                for line in answer.lines(writer, event, load_s):
                    yield as_json(line) + b"\n"


async def load(request: Request, asked: OllamaAsked, answer: AnswerLines) -> Response:
    """Answers a request without a prompt: the pair is loaded, or unloaded if `keep_alive` is 0."""
    serve = serve_of(request)
    named, _ = serve.models.parse(asked.wanted or None)
    unloads = asked.keep_alive is not None and keep_alive_seconds(asked.keep_alive) == 0
    if not unloads or named.name in serve.models.loaded():
        async with serve.models.use(asked.wanted or None, _keep_alive(asked)):
            pass
    return Response(as_json(answer.without_text("unload" if unloads else "load")), media_type="application/json")


def _keep_alive(asked: OllamaAsked) -> float | EllipsisType | None:
    """As `ServedModels.use` takes it. Raises `OptionError` for a `keep_alive` that is no duration."""
    if asked.keep_alive is None:
        return ...
    seconds = keep_alive_seconds(asked.keep_alive)
    return None if seconds == math.inf else seconds
