"""Turns the tokens of a reply into `Token` events, and knows when the reply is over."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType

from edge_wsd.decoding.alternatives import shown_text
from edge_wsd.decoding.events import Alternative, FinishReason, Scored, ScoredToken, Source, Token
from edge_wsd.decoding.loop_watch import Loop, LoopWatch
from edge_wsd.decoding.protocols import Vocabulary
from edge_wsd.decoding.text import TextStream


class ReplyWriter:
    """One per reply. Once the reply is over, `finish` says why, and nothing more may be written.

    `stop_tokens` end the reply like the stop strings that they are mapped to, and `loops` ends one that has fallen
    into a loop; `marks` stand for tokens in stop strings.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        *,
        max_tokens: int,
        stops: Iterable[str] | Mapping[str, str] = (),
        stop_tokens: Mapping[int, str] = MappingProxyType({}),
        marks: Mapping[int, str] = MappingProxyType({}),
        loops: LoopWatch | None = None,
    ) -> None:
        self.vocabulary = vocabulary
        self._max_tokens = max_tokens
        self._stream = TextStream(stops, marks.values())
        self._marks = marks
        self._stop_tokens = stop_tokens
        self._stop: str | None = None
        self._loops = loops
        self._n_bytes: list[int] = []
        self._n_repeated = 0  # bytes still to come that were written before a cut
        self._shown = ""  # text of tokens that were cut off: it goes to the next token written, but is not shown again
        self._confidences: dict[int, float | None] = {}
        self.ids: list[int] = []
        self.tokens: list[Token] = []
        self.finish: FinishReason | None = None
        self.loop: Loop | None = None
        """The loop that ended the reply."""
        self.first_shown_s: float | None = None
        """When the first text could be shown, in `time.perf_counter` seconds."""
        self.end_token: ScoredToken | None = None
        """The token that ended the reply, if the model that finishes it chose one."""

    @property
    def n_left(self) -> int:
        """Tokens that may still be written."""
        return self._max_tokens - len(self.ids)

    @property
    def text(self) -> str:
        return "".join(token.text for token in self.tokens)

    @property
    def stop(self) -> str | None:
        """The stop string that ended the reply."""
        return self._stream.stop or self._stop

    def write(
        self, token: int, source: Source, logprob: float | None = None, top: tuple[Alternative, ...] = ()
    ) -> tuple[Token, ...]:
        """Append a token; returns the events to show. An end token appends nothing and finishes the reply."""
        is_end = self.vocabulary.is_end(token)
        if logprob is not None and (is_end or token in self._stop_tokens):
            text = shown_text(self.vocabulary, token)
            self.end_token = ScoredToken(token, text, self.vocabulary.piece(token), logprob, top)
        if token in self._stop_tokens:
            return self.stop_at(self._stop_tokens[token])
        mark = self._marks.get(token, "")
        if is_end:
            return self.end("stop", mark)
        data = self.vocabulary.piece(token)
        self.ids.append(token)
        self._n_bytes.append(len(data))
        repeated = min(self._n_repeated, len(data))
        self._n_repeated -= repeated
        text = self._stream.feed(data[repeated:], mark)
        written = Token(len(self.tokens), token, text, source, logprob, piece=data, top=top)
        if written.text and self.first_shown_s is None:
            self.first_shown_s = time.perf_counter()
        self.tokens.append(replace(written, text=self._shown + written.text))
        self._shown = ""
        if self._stream.stop is not None:
            self.finish = "stop"
        elif self._loops is not None and (loop := self._loops.push(token)):
            self.loop = loop
            return (written, *self.end("stop"))
        elif self.n_left <= 0:
            return (written, *self.end("length"))
        return (written,)

    def end(self, reason: FinishReason, mark: str = "") -> tuple[Token, ...]:
        """Finish the reply: text held back comes as a second event of the last token.

        A character that is left incomplete, at the length limit, by a loop or by a cancel, is left out of the text and
        so of the history.
        """
        self.finish = reason
        rest = self._stream.flush(mark, cut_off=reason != "stop" or self.loop is not None)
        if not rest or not self.tokens:
            return ()
        last = self.tokens[-1]
        self.tokens[-1] = replace(last, text=last.text + rest)
        return (replace(last, text=rest),)

    def stop_at(self, stop: str) -> tuple[Token, ...]:
        """Finish the reply at a token whose text is the stop string `stop`."""
        self._stop = stop
        return self.end("stop")

    def score(self, scored: Scored) -> None:
        """Record the base's scores of tokens that are written already."""
        for i, logprob in enumerate(scored.logprobs[: len(self.tokens) - scored.first]):
            at = scored.first + i
            repeated = scored.repeated[i] if scored.repeated else None
            top = scored.top[i] if scored.top else ()
            self.tokens[at] = replace(self.tokens[at], logprob=logprob, repeated=repeated, top=top)
            self._confidences[at] = scored.confidences[i]

    @property
    def confidences(self) -> tuple[float | None, ...]:
        """One per token; None for tokens without one."""
        return tuple(map(self._confidences.get, range(len(self.tokens))))

    def cut(self, n: int) -> None:
        """Forget all but the first `n` tokens. The others' bytes come again in new tokens, and are not shown twice."""
        self._n_repeated += sum(self._n_bytes[n:])
        self._shown += "".join(token.text for token in self.tokens[n:])
        del self.ids[n:], self.tokens[n:], self._n_bytes[n:]
        if self._loops is not None:
            self._loops.cut(n)
