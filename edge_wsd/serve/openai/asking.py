"""Asking a pair for one or several answers at once, and reading them as they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import Request

from edge_wsd._native import CancelFlag
from edge_wsd.decoding.events import Dropped, Event, Finished, Reply
from edge_wsd.decoding.options import N_SEEDS, Options
from edge_wsd.engine.stream import Stream
from edge_wsd.prompts.messages import Message
from edge_wsd.prompts.tools import Tool
from edge_wsd.serve.errors import RequestError
from edge_wsd.serve.openai.choice import Details
from edge_wsd.serve.openai.parameters import Parameters
from edge_wsd.serve.openai.tools import ToolsAsked
from edge_wsd.serve.served_models import Served
from edge_wsd.serve.state import serve_of

T = TypeVar("T")
_PATIENCE_S = 1.0
_TOOL_HEADING = "\n[Tool]"
"""With this the base would begin to invent a tool's answer, in the plain template's form."""


@dataclass(frozen=True, slots=True)
class ChatQuestion:
    """A conversation, and how it is to be answered: `n` times, each with a seed of its own."""

    asked: Parameters
    messages: Sequence[Message]
    options: Options
    tools: tuple[Tool, ...] = ()
    n: int = 1
    may_drop: bool = True
    """Whether the oldest messages may be left out where the context is too short for all."""

    def all_options(self) -> list[Options]:
        """Of each answer."""
        seed = self.options.seed
        if seed is None:
            return [self.options] * self.n
        return [self.options.with_changes(seed=(seed + number) % N_SEEDS) for number in range(self.n)]


def chat_question(
    served: Served,
    given: Parameters,
    messages: Sequence[Message],
    tools: ToolsAsked,
    schema: Mapping[str, Any] | None,
    details: Details,
    **more: Any,
) -> ChatQuestion:
    """A question with what the parameters, the tools and the schema of the answer mean. Raises `RequestError`."""
    if (schema := tools.schema or schema) is not None:
        more |= {"json_schema": schema, "grammar_from": "start"}
    if details.logprobs is not None:  # at least one, or an answer may end before the base has read the draft
        more["top_logprobs"] = max(1, details.logprobs)
    with given.naming_fields():
        options = given.options(served.pair.options, served.mode, **more)
    if tools.tools:
        options = options.with_changes(stop=(*options.stop, _TOOL_HEADING))
    return ChatQuestion(given, messages, options, tools.tools)


async def started(request: Request, served: Served, question: ChatQuestion) -> list[Stream]:
    """The streams of all answers. Prompts are made in a thread, as a template or a long text takes its time.

    Raises what the library says of the question.
    """
    limits = serve_of(request).limits

    def start(cancel: CancelFlag) -> list[Stream]:
        parts: list[Message | Tool] = [*question.messages, *question.tools]
        texts = [text for part in parts for text in part.texts()]
        limits.check_prompt(served.pair, texts, cancel)
        streams: list[Stream] = []
        try:
            for options in question.all_options():
                session = served.pair.session(options=options, messages=question.messages, tools=question.tools)
                streams.append(session.stream(cancel=cancel))
        except BaseException:
            for stream in streams:
                stream.close()
            raise
        return streams

    return await limits.in_thread(request.state.slot, start)


async def replies(request: Request, question: ChatQuestion, streams: Sequence[Stream]) -> list[Reply]:
    """All answers, whole. The first that fails ends the others."""
    found: dict[int, Reply] = {}
    async with aclosing(events(request, question, streams)) as told:
        async for number, event in told:
            if isinstance(event, Finished):
                found[number] = event.reply
    return [found[number] for number in range(len(streams))]


async def events(
    request: Request, question: ChatQuestion, streams: Sequence[Stream]
) -> AsyncGenerator[tuple[int, Event], None]:
    """The events of all answers as they come, each with the number of its stream."""
    limits = serve_of(request).limits
    with question.asked.naming_fields():
        async with aclosing(merged([limits.events(request, stream) for stream in streams])) as told:
            async for number, event in told:
                if isinstance(event, Dropped) and not question.may_drop:
                    text = "the conversation is longer than the context; shorten it, or let truncation be auto"
                    raise RequestError(text, code="context_length_exceeded", param="truncation")
                yield number, event


async def merged(sources: Sequence[AsyncIterator[T]]) -> AsyncGenerator[tuple[int, T], None]:
    """What several sources yield, as it comes. The first error ends all. They are closed however it ends."""
    arrived: asyncio.Queue[tuple[int, T] | BaseException | None] = asyncio.Queue()
    tasks = [asyncio.ensure_future(_read(number, source, arrived)) for number, source in enumerate(sources)]
    n_running = len(tasks)
    try:
        while n_running:
            item = await arrived.get()
            if isinstance(item, BaseException):
                raise item
            if item is None:
                n_running -= 1
            else:
                yield item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def begun(source: AsyncGenerator[T, None], patience_s: float = _PATIENCE_S) -> AsyncGenerator[T | None, None]:
    """What the source yields; None before that if nothing has come for a while. The source is closed at the end.

    So an answer that is refused at once still gets a status of its own, and one that is long in coming begins.
    """
    first = asyncio.ensure_future(anext(source, None))
    try:
        done, _ = await asyncio.wait({first}, timeout=patience_s)
        if not done:
            yield None
        item = await first
        while item is not None:
            yield item
            item = await anext(source, None)
    finally:
        first.cancel()
        await asyncio.wait({first})
        await source.aclose()


async def _read(
    number: int, source: AsyncIterator[T], arrived: asyncio.Queue[tuple[int, T] | BaseException | None]
) -> None:
    try:
        async for item in source:
            arrived.put_nowait((number, item))
        arrived.put_nowait(None)
    except Exception as error:  # for whoever reads the queue
        arrived.put_nowait(error)
    finally:
        if isinstance(source, AsyncGenerator):
            await source.aclose()
