"""Tokens with their log-probabilities, in OpenAI's form, also of a stream in which some are known late."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from edge_wsd.decoding.events import Alternative, Scored, Token
from edge_wsd.serve.extension import floored_logprob
from edge_wsd.serve.openai.chat_types import TokenLogprob, TopLogprob


def token_logprob(token: Token, n_top: int) -> TokenLogprob:
    """The entry of a token whose log-probability is known, with so many of its alternatives."""
    return TokenLogprob(
        token=token.piece.decode("utf-8", errors="replace"),
        bytes=list(token.piece),
        logprob=floored_logprob(token.logprob if token.logprob is not None else float("-inf")),
        top_logprobs=[_top(alternative) for alternative in token.top[:n_top]],
    )


def _top(alternative: Alternative) -> TopLogprob:
    logprob = floored_logprob(alternative.logprob)
    return TopLogprob(token=alternative.text, bytes=list(alternative.piece), logprob=logprob)


@dataclass(frozen=True, slots=True)
class ShownToken:
    """A token whose text can be sent. `counts` is False if its position has an entry already, or will get another."""

    token: Token
    counts: bool


class LogprobOrder:
    """Holds drafted tokens back until the base has scored them, so that each is sent together with its score."""

    def __init__(self) -> None:
        self._waiting: deque[Token] = deque()
        self._scores: dict[int, tuple[float, tuple[Alternative, ...]]] = {}
        self._n_sent = 0

    def token(self, token: Token) -> Iterator[ShownToken]:
        """What can be sent now that there is one more token."""
        self._waiting.append(token)
        return self._ready()

    def scored(self, event: Scored) -> Iterator[ShownToken]:
        """What can be sent now that more is known. The score of a token may come before the token."""
        tops = event.top or ((),) * len(event.logprobs)
        for position, score in enumerate(zip(event.logprobs, tops, strict=True), start=event.first):
            self._scores[position] = score
        return self._ready()

    def end(self, tokens: Sequence[Token]) -> Iterator[ShownToken]:
        """What is left; `tokens` are those of the whole answer."""
        for token in tokens[self._n_sent :]:
            if token.logprob is not None:
                self._scores[token.position] = token.logprob, token.top
        yield from self._ready()
        yield from (ShownToken(token, counts=False) for token in self._waiting)

    def _ready(self) -> Iterator[ShownToken]:
        while self._waiting:
            token = self._waiting[0]
            if token.logprob is None and token.position >= self._n_sent:
                if token.position not in self._scores:
                    return
                logprob, top = self._scores[token.position]
                token = replace(token, logprob=logprob, top=top)
            self._waiting.popleft()
            cut_anew = any(later.position <= token.position for later in self._waiting)
            counts = token.position >= self._n_sent and not cut_anew
            if counts:
                self._n_sent = token.position + 1
                self._scores.pop(token.position, None)
            yield ShownToken(token, counts)
