"""One answer on its way to a client: the library's events become deltas, or the whole reply a message."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from edge_wsd.decoding.events import Event, Finished, Reply, Scored, Token
from edge_wsd.prompts.tool_calls import ToolCallReader
from edge_wsd.prompts.tools import Tool, ToolCall
from edge_wsd.serve.errors import RequestError
from edge_wsd.serve.extension import Extension, extension_of_event
from edge_wsd.serve.openai.chat_types import (
    AnswerDelta,
    AnswerEnd,
    AnswerMessage,
    AnswerToolCall,
    CalledFunction,
    ChatChoice,
    ChoiceLogprobs,
    ChunkChoice,
    TokenLogprob,
)
from edge_wsd.serve.openai.logprobs import LogprobOrder, ShownToken, token_logprob


@dataclass(frozen=True, slots=True)
class Details:
    """What a client wants to be told besides the text."""

    tools: tuple[Tool, ...] = ()
    logprobs: int | None = None
    """How many alternatives of each token; None for no log-probabilities at all."""
    extension: bool = False
    most_calls: int | None = None
    """How many tools may be called in one answer; None for any number."""

    def reader(self) -> ToolCallReader | None:
        """What finds calls of tools in the text."""
        return ToolCallReader([tool.name for tool in self.tools], self.most_calls) if self.tools else None


@dataclass(frozen=True, slots=True)
class AnswerPiece:
    """What one event adds to an answer."""

    text: str = ""
    call: ToolCall | None = None
    call_index: int = 0
    logprobs: tuple[TokenLogprob, ...] = ()
    extension: Extension | None = None
    finish_reason: AnswerEnd | None = None


@dataclass
class ChoiceWriter:
    """Pieces of one answer from its events, in order."""

    details: Details
    reply: Reply | None = None
    """Once it is complete."""
    n_calls: int = 0
    _order: LogprobOrder = field(default_factory=LogprobOrder)

    def __post_init__(self) -> None:
        self._reader = self.details.reader()

    def pieces(self, event: Event) -> Iterator[AnswerPiece]:
        """What the event adds. Raises `RequestError` if the answer was ended by the server."""
        extension = extension_of_event(event) if self.details.extension else None
        if isinstance(event, Finished):
            yield from self._ending(event.reply, extension)
            return
        shown = list(self._shown(event))
        yield from self._pieces(shown, extension)

    def _shown(self, event: Event) -> Iterable[ShownToken]:
        match event:
            case Token():
                return (
                    self._order.token(event) if self.details.logprobs is not None else (ShownToken(event, counts=True),)
                )
            case Scored() if self.details.logprobs is not None:
                return self._order.scored(event)
            case _:
                return ()

    def _pieces(
        self, shown: list[ShownToken], extension: Extension | None, *, ends: bool = False
    ) -> Iterator[AnswerPiece]:
        text = "".join(each.token.text for each in shown)
        logprobs: tuple[TokenLogprob, ...] = ()
        if (n_top := self.details.logprobs) is not None:
            logprobs = tuple(token_logprob(each.token, n_top) for each in shown if each.counts)
        parts: list[str | ToolCall] = [text] if text and self._reader is None else []
        if self._reader is not None:
            parts = [*self._reader.feed(text), *(self._reader.end() if ends else ())]
        if not parts and (logprobs or extension is not None):
            parts = [""]
        for part in parts:
            if isinstance(part, ToolCall):
                yield AnswerPiece("", part, self.n_calls, logprobs, extension)
                self.n_calls += 1
            else:
                yield AnswerPiece(part, logprobs=logprobs, extension=extension)
            logprobs, extension = (), None

    def _ending(self, reply: Reply, extension: Extension | None) -> Iterator[AnswerPiece]:
        yield from self._pieces(list(self._order.end(reply.tokens)), None, ends=True)
        self.reply = reply
        yield AnswerPiece(extension=extension, finish_reason=end_of(reply, self.n_calls))


def end_of(reply: Reply, n_calls: int) -> AnswerEnd:
    """Why it ended, in OpenAI's words. Raises `RequestError` for one that was ended from outside."""
    if reply.finish_reason == "cancelled":
        raise RequestError("the answer was ended by the server", status=503, code="cancelled")
    return "tool_calls" if n_calls else reply.finish_reason


def chunk_choice(index: int, piece: AnswerPiece) -> ChunkChoice:
    """The piece as a chunk has it."""
    delta = AnswerDelta()
    if piece.text:
        delta.content = piece.text
    if piece.call is not None:
        delta.tool_calls = [_call(piece.call, piece.call_index)]
    logprobs = ChoiceLogprobs(content=list(piece.logprobs), refusal=None) if piece.logprobs else None
    return ChunkChoice(index=index, delta=delta, logprobs=logprobs, finish_reason=piece.finish_reason)


def whole_pieces(reply: Reply, details: Details) -> Iterator[AnswerPiece]:
    """Pieces of a whole answer. Raises `RequestError` if it was ended by the server."""
    reader = details.reader()
    parts = [reply.text] if reader is None else [*reader.feed(reply.text), *reader.end()]
    logprobs: tuple[TokenLogprob, ...] = ()
    if (n_top := details.logprobs) is not None:
        logprobs = tuple(token_logprob(token, n_top) for token in reply.tokens)
    n_calls = 0
    for part in parts or [""]:
        if isinstance(part, ToolCall):
            yield AnswerPiece("", part, n_calls, logprobs)
            n_calls += 1
        else:
            yield AnswerPiece(part, logprobs=logprobs)
        logprobs = ()
    yield AnswerPiece(finish_reason=end_of(reply, n_calls))


def whole_choice(index: int, reply: Reply, details: Details) -> ChatChoice:
    """A whole answer. Raises `RequestError` if it was ended by the server."""
    pieces = list(whole_pieces(reply, details))
    text = "".join(piece.text for piece in pieces)
    calls = [piece.call for piece in pieces if piece.call is not None]
    message = AnswerMessage(role="assistant", content=text if text or not calls else None, refusal=None)
    if calls:
        message.tool_calls = [_call(call) for call in calls]
    logprobs = None
    if details.logprobs is not None:
        logprobs = ChoiceLogprobs(content=[each for piece in pieces for each in piece.logprobs], refusal=None)
    end = pieces[-1].finish_reason
    assert end is not None
    return ChatChoice(index=index, message=message, logprobs=logprobs, finish_reason=end)


def _call(call: ToolCall, index: int | None = None) -> AnswerToolCall:
    function = CalledFunction(name=call.name, arguments=call.arguments_text)
    place = {} if index is None else {"index": index}
    return AnswerToolCall(id=call.id, type="function", function=function, **place)
