"""`/v1/completions`: texts that are written on as they stand, and texts that are scored."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from edge_wsd._native import CancelFlag
from edge_wsd.asked import RawPrompt
from edge_wsd.decoding.events import Event, Finished, Reply, Source
from edge_wsd.decoding.options import N_SEEDS, Options
from edge_wsd.engine.stream import Stream
from edge_wsd.errors import ContextFullError
from edge_wsd.lookups import PiecesOf
from edge_wsd.serve.errors import OPENAI_ERRORS, RequestError
from edge_wsd.serve.extension import Extension, extension_of_event, extension_of_reply
from edge_wsd.serve.openai.asking import merged
from edge_wsd.serve.openai.chat_types import Usage
from edge_wsd.serve.openai.completion_types import (
    DEFAULT_MAX_TOKENS,
    MOST_CHOICES,
    CompletionChoice,
    CompletionRequest,
    TextCompletion,
)
from edge_wsd.serve.openai.completion_writer import CompletionWriter, EchoedPrompt
from edge_wsd.serve.openai.head import Head
from edge_wsd.serve.openai.sse import data_line, ended_by_done
from edge_wsd.serve.openai.tools import schema_of_format
from edge_wsd.serve.openai.usage import usage_of
from edge_wsd.serve.served_models import Served
from edge_wsd.serve.state import serve_of
from edge_wsd.serve.streaming import SSE, live_response

router = APIRouter(responses=OPENAI_ERRORS)


@router.post(
    "/v1/completions",
    response_model=TextCompletion,
    responses={200: {"content": {SSE: {}}, "description": "With stream: chunks."}},
)
async def completions(request: Request, body: CompletionRequest) -> Response:
    """Writes texts on as they stand; with echo, logprobs and max_tokens 0, scores them."""
    texts = Texts.of(body)
    if body.stream:
        return await live_response(request, ended_by_done(texts.chunks(request)))
    async with serve_of(request).answering(request, body.model) as served:
        completion = await texts.completion(request, served)
    return Response(completion.model_dump_json(exclude_unset=True), media_type="application/json")


@dataclass(frozen=True)
class Texts:
    """A request whose fields are known to make sense, and the head that all parts of its answer share."""

    body: CompletionRequest
    prompts: list[RawPrompt]
    head: Head = field(default_factory=partial(Head.new, "cmpl-"))

    @classmethod
    def of(cls, body: CompletionRequest) -> Texts:
        """Raises `RequestError`."""
        prompts = _prompts_of(body)
        if body.suffix:
            text = "suffix cannot be used: the models of a pair write on, and fill no gaps; leave it out"
            raise RequestError(text, code="unsupported_parameter", param="suffix")
        if body.best_of is not None and body.best_of > (body.n or 1):
            text = "best_of cannot be more than n: ask for n answers, and choose among them"
            raise RequestError(text, code="unsupported_parameter", param="best_of")
        if len(prompts) * (body.n or 1) > MOST_CHOICES:
            text = (
                f"prompt: {len(prompts)} prompts with {body.n or 1} answers each; at most {MOST_CHOICES} in a request"
            )
            raise RequestError(text, code="invalid_value", param="prompt")
        return cls(body, prompts)

    async def completion(self, request: Request, served: Served) -> TextCompletion:
        """The whole answer. With one choice the extension field stands at the top."""
        options = await self._options(request, served)
        writers, prompts = await self._writers(request, served, options)
        found = dict(enumerate(prompts)) if not self._writes else {}
        async with aclosing(self._answers(request, served, options)) as answers:
            async for number, event in answers:
                if isinstance(event, Finished):
                    found[number] = event.reply
        n = self.body.n or 1
        whole = [found[number if self._writes else number // n] for number in range(len(writers))]
        choices = [writer.whole(reply) for writer, reply in zip(writers, whole, strict=True)]
        completion = self._completion(served.name, choices)
        completion.usage = usage_of(prompts or whole[::n], whole)
        if self.body.edge_wsd is not None and len(whole) == 1:
            completion.edge_wsd = extension_of_reply(whole[0])
        elif self.body.edge_wsd is not None:
            for choice, reply in zip(choices, whole, strict=True):
                choice.edge_wsd = extension_of_reply(reply)
        return completion

    async def chunks(self, request: Request) -> AsyncGenerator[bytes, None]:
        """Its lines, of which the first is empty: from then on an error is one of them."""
        async with serve_of(request).answering(request, self.body.model) as served:
            options = await self._options(request, served)
            writers, prompts = await self._writers(request, served, options)
            async with aclosing(self._answers(request, served, options)) as answers:
                item = await anext(answers, None)  # what is wrong with the prompt is said before anything is sent
                yield b""
                for writer in writers:
                    if (first := writer.first()) is not None:
                        yield self._line(served.name, [first])
                    if not self._writes:
                        reply = prompts[writer.index // (self.body.n or 1)]
                        yield self._event_line(served.name, writer, Finished(reply))
                while item is not None:
                    number, event = item
                    if line := self._event_line(served.name, writers[number], event):
                        yield line
                    item = await anext(answers, None)
            if self.body.tells_usage:
                whole = [writer.reply for writer in writers if writer.reply is not None]
                usage = usage_of(prompts or whole[:: self.body.n or 1], whole)
                yield self._line(served.name, [], usage=usage)

    # What the pair is asked

    @property
    def _writes(self) -> bool:
        return self.body.max_tokens != 0

    async def _options(self, request: Request, served: Served) -> Options:
        """Raises `RequestError`, and `ContextFullError` for a prompt that this server does not take."""
        body, serve = self.body, serve_of(request)
        texts = [prompt for prompt in self.prompts if isinstance(prompt, str)]
        await serve.limits.in_thread(
            request.state.slot, lambda cancel: serve.limits.check_prompt(served.pair, texts, cancel)
        )
        longest = max((len(prompt) for prompt in self.prompts if not isinstance(prompt, str)), default=0)
        most = serve.settings.max_prompt_tokens
        if most is not None and longest > most:
            text = f"the prompt has {longest} tokens, and this server takes at most {most} (--max-prompt-tokens)"
            raise ContextFullError(text, needed=longest, available=most)
        n_top = 0 if body.logprobs is None else max(1, body.logprobs)  # with none, some tokens would have no number
        more: dict[str, Any] = {"top_logprobs": n_top, "special": True}
        if (schema := schema_of_format(body.response_format, "response_format")) is not None:
            more |= {"json_schema": schema, "grammar_from": "start"}
        if not self._writes or (body.max_tokens is None and body.max_completion_tokens is None):
            more["max_tokens"] = DEFAULT_MAX_TOKENS
        with body.naming_fields():
            return await asyncio.to_thread(
                body.options, served.pair.options, served.mode, **more
            )  # schemas take a while

    async def _writers(
        self, request: Request, served: Served, options: Options
    ) -> tuple[list[CompletionWriter], list[Reply]]:
        """One for each answer; and the scores of the prompts, where they are wanted or nothing else is."""
        body, source = self.body, _finisher(options)
        scored: list[Reply] = []
        if not self._writes or (body.echo and body.logprobs is not None):
            score = partial(
                served.pair.score, source=source, top_logprobs=options.top_logprobs, special=options.special
            )
            scored = await self._all(request, served, [partial(score, prompt) for prompt in self.prompts])
        echoes = [EchoedPrompt(prompt) for prompt in self.prompts]
        if body.echo:
            texts = await serve_of(request).limits.in_thread(
                request.state.slot, lambda cancel: [_text_of(prompt, served, source, cancel) for prompt in self.prompts]
            )
            scores: Sequence[Reply | None] = scored or [None] * len(self.prompts)
            echoes = [EchoedPrompt(*each) for each in zip(self.prompts, texts, scores, strict=True)]
        n = body.n or 1
        numbers = range(len(self.prompts) * n)
        return [CompletionWriter(number, echoes[number // n], body.logprobs) for number in numbers], scored

    def _answers(self, request: Request, served: Served, options: Options) -> AsyncGenerator[tuple[int, Event], None]:
        """The events of all answers as they come, each with the number of its answer."""
        starts: list[Callable[..., Stream]] = []
        for prompt in self.prompts if self._writes else []:
            for number in range(self.body.n or 1):
                seed = None if options.seed is None else (options.seed + number) % N_SEEDS
                starts.append(partial(served.pair.complete, prompt, replace(options, seed=seed)))
        return self._events(request, served, starts)

    async def _all(self, request: Request, served: Served, starts: Sequence[Callable[..., Stream]]) -> list[Reply]:
        found: dict[int, Reply] = {}
        async with aclosing(self._events(request, served, starts)) as events:
            async for number, event in events:
                if isinstance(event, Finished):
                    found[number] = event.reply
        return [found[number] for number in range(len(starts))]

    async def _events(
        self, request: Request, served: Served, starts: Sequence[Callable[..., Stream]]
    ) -> AsyncGenerator[tuple[int, Event], None]:
        """The events of all streams, of which as many are written at once as the pair can.

        What starts one takes `cancel`, and is called in a thread, where prompts are made.
        """
        limits, turns = serve_of(request).limits, asyncio.Semaphore(served.pair.parallel)

        async def one(start: Callable[..., Stream]) -> AsyncGenerator[Event, None]:
            async with turns:
                stream = await limits.in_thread(request.state.slot, lambda cancel: start(cancel=cancel))
                async with aclosing(limits.events(request, stream)) as events:
                    async for event in events:
                        yield event

        with self.body.naming_fields():
            async with aclosing(merged([one(start) for start in starts])) as events:
                async for item in events:
                    yield item

    # What the client is told

    def _event_line(self, model: str, writer: CompletionWriter, event: Event) -> bytes:
        """Empty if there is nothing to tell of the event."""
        choice = writer.chunk(event)
        extension = None if self.body.edge_wsd is None else extension_of_event(event)
        if choice is None and extension is not None:
            choice = CompletionChoice(text="", index=writer.index, finish_reason=None)
        return b"" if choice is None else self._line(model, [choice], extension)

    def _line(
        self,
        model: str,
        choices: list[CompletionChoice],
        extension: Extension | None = None,
        usage: Usage | None = None,
    ) -> bytes:
        chunk = self._completion(model, choices)
        if self.body.tells_usage:
            chunk.usage = usage
        if extension is not None:
            chunk.edge_wsd = extension
        return data_line(chunk)

    def _completion(self, model: str, choices: list[CompletionChoice]) -> TextCompletion:
        return TextCompletion(**self.head.fields(model), object="text_completion", choices=choices)


def _prompts_of(body: CompletionRequest) -> list[RawPrompt]:
    """One or several. Raises `RequestError` for none."""
    prompt = body.prompt
    if isinstance(prompt, str):
        return [prompt]
    if not prompt:
        raise RequestError("prompt: must hold at least one text", code="invalid_value", param="prompt")
    ids = [token for token in prompt if isinstance(token, int)]
    return [ids] if ids else [each for each in prompt if not isinstance(each, int)]  # what pydantic took is of one kind


def _finisher(options: Options) -> Source:
    return "drafter" if options.mode == "drafter" else "base"


def _text_of(prompt: RawPrompt, served: Served, source: Source, cancel: CancelFlag) -> str:
    """As an echo shows it; control tokens by their names."""
    if isinstance(prompt, str):
        return prompt
    return b"".join(served.pair.call(PiecesOf(source, tuple(prompt)), cancel)).decode("utf-8", errors="replace")
