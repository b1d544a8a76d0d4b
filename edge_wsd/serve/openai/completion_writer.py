"""One answer of `/v1/completions`: whole, or as the chunks that its events become."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from edge_wsd.asked import RawPrompt
from edge_wsd.decoding.events import Event, Finished, Reply, Scored, Token
from edge_wsd.serve.errors import RequestError
from edge_wsd.serve.openai.completion_types import CompletionChoice, CompletionEnd
from edge_wsd.serve.openai.legacy_logprobs import LegacyEntries
from edge_wsd.serve.openai.logprobs import LogprobOrder, ShownToken


@dataclass(frozen=True, slots=True)
class EchoedPrompt:
    """What stands before an answer: nothing where no echo is wanted."""

    prompt: RawPrompt
    text: str = ""
    scored: Reply | None = None
    """Of the prompt, where log-probabilities are wanted."""


@dataclass
class CompletionWriter:
    """`index` is the answer's number in its request."""

    index: int
    echo: EchoedPrompt
    logprobs: int | None
    """How many alternatives are told at each position; None: no log-probabilities at all."""
    reply: Reply | None = None
    """Once it is complete."""
    _order: LogprobOrder = field(default_factory=LogprobOrder)
    _n_shown: int = 0

    def __post_init__(self) -> None:
        self._entries = LegacyEntries(self.logprobs or 0)

    def whole(self, reply: Reply) -> CompletionChoice:
        """The whole answer. Raises `RequestError` if it was ended by the server."""
        self.reply = reply
        self._add_echo()
        self._entries.add(reply.tokens)
        return self._choice(self.echo.text + reply.text, reply)

    def first(self) -> CompletionChoice | None:
        """The prompt, where it is part of the text."""
        if not self.echo.text:
            return None
        self._add_echo()
        return self._choice(self.echo.text, None)

    def chunk(self, event: Event) -> CompletionChoice | None:
        """What the event adds to the answer, if anything. With log-probabilities, a token waits for its own."""
        if isinstance(event, Finished):
            self.reply = event.reply
            return self._choice(self._text_of(self._order.end(event.reply.tokens)), event.reply)
        text = self._text_of(self._shown(event))
        return self._choice(text, None) if text or self._entries.has_new else None

    def _shown(self, event: Event) -> Iterable[ShownToken]:
        match event:
            case Token():
                return self._order.token(event) if self.logprobs is not None else (ShownToken(event, counts=False),)
            case Scored() if self.logprobs is not None:
                return self._order.scored(event)
            case _:
                return ()

    def _text_of(self, shown: Iterable[ShownToken]) -> str:
        shown = list(shown)
        self._entries.add(each.token for each in shown if each.counts)
        return "".join(each.token.text for each in shown)

    def _add_echo(self) -> None:
        if self.echo.scored is not None and self.logprobs is not None:
            self._entries.add_prompt(self.echo.scored.prompt, self.echo.prompt)

    def _choice(self, text: str, reply: Reply | None) -> CompletionChoice:
        """With `reply` it is the last, or the only one."""
        if reply is not None and reply.end is not None:
            self._entries.add([reply.end])
        self._n_shown += len(text)
        logprobs = self._entries.taken(longest=self._n_shown) if self.logprobs is not None else None
        end = None if reply is None else end_of(reply)
        return CompletionChoice(text=text, index=self.index, logprobs=logprobs, finish_reason=end)


def end_of(reply: Reply) -> CompletionEnd:
    """Why it ended, in OpenAI's words. Raises `RequestError` for one that was ended from outside."""
    if reply.finish_reason == "cancelled":
        raise RequestError("the answer was ended by the server", status=503, code="cancelled")
    return reply.finish_reason
