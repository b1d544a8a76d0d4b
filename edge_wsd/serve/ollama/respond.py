"""From a request to its answer: whole, or line by line as newline-delimited JSON; or a pair is loaded or unloaded."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager
from types import EllipsisType

from fastapi import Request
from starlette.responses import Response

from edge_wsd.decoding.events import Finished
from edge_wsd.engine.stream import Stream
from edge_wsd.serve.durations import keep_alive_seconds
from edge_wsd.serve.errors import ClientGone, failure_of, ollama_error
from edge_wsd.serve.ollama.answer import AnswerLines, as_json
from edge_wsd.serve.ollama.wire import OllamaAsked
from edge_wsd.serve.served_models import Served
from edge_wsd.serve.state import Serve, serve_of
from edge_wsd.serve.streaming import NDJSON, live_response

Begin = Callable[[Served], Stream]
"""Starts the answer with the pair that was asked for. Runs in a thread of its own, since it makes the prompts."""


async def respond(request: Request, asked: OllamaAsked, form: AnswerLines, begin: Begin) -> Response:
    """The answer to what `begin` asks the pair. Raises what goes wrong before the first event."""
    serve = serve_of(request)
    answering = serve.answering(request, asked.wanted or None, _keep_alive(asked))
    if asked.stream is False:
        async with answering as served:
            load_s = time.perf_counter() - form.began
            stream = await asyncio.to_thread(begin, served)
            async for event in serve.limits.events(request, stream):
                if isinstance(event, Finished):
                    return Response(as_json(form.whole(event.reply, load_s)), media_type="application/json")
        raise ClientGone("the client left")
    return await live_response(request, _lines(request, serve, answering, form, begin), NDJSON)


async def _lines(
    request: Request, serve: Serve, answering: AbstractAsyncContextManager[Served], form: AnswerLines, begin: Begin
) -> AsyncGenerator[bytes, None]:
    async with answering as served:
        load_s = time.perf_counter() - form.began
        stream = await asyncio.to_thread(begin, served)
        yield b""  # what goes wrong before this is an answer of its own
        try:
            async for event in serve.limits.events(request, stream):
                if (line := form.line(event, load_s)) is not None:
                    yield as_json(line) + b"\n"
        except ClientGone:
            raise
        except Exception as error:
            yield json.dumps(ollama_error(failure_of(error))).encode() + b"\n"


async def load(request: Request, asked: OllamaAsked, form: AnswerLines) -> Response:
    """Answers a request without a prompt: the pair is loaded, or unloaded if `keep_alive` is 0."""
    serve = serve_of(request)
    named, _ = serve.models.parse(asked.wanted or None)
    unloads = asked.keep_alive is not None and keep_alive_seconds(asked.keep_alive) == 0
    if not unloads or named.name in serve.models.loaded():
        async with serve.models.use(asked.wanted or None, _keep_alive(asked)):
            pass
    answer = form.without_text("unload" if unloads else "load")
    return Response(as_json(answer), media_type="application/json")


def _keep_alive(asked: OllamaAsked) -> float | EllipsisType | None:
    """As `ServedModels.use` takes it. Raises `OptionError` for a `keep_alive` that is no duration."""
    if asked.keep_alive is None:
        return ...
    seconds = keep_alive_seconds(asked.keep_alive)
    return None if seconds == math.inf else seconds
