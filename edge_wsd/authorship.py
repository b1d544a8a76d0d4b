"""Who wrote which part of a message, and how the turn was taken: what is kept of a reply beside its text.

>>> Authorship.of(reply, pair="demo").spans
(AuthorSpan(author='drafter', text='Sure, I can'), AuthorSpan(author='base', text=' help.'))
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any, Literal, get_args

from edge_wsd.decoding.events import FinishReason, Reply, Source, Switched, SwitchReason

Author = Source | Literal["given"]
"""A model, or "given": the beginning of an answer that somebody else put there for the models to continue."""
_AUTHORS = (*get_args(Source), "given")
_LARGEST_SEED = 2**64


@dataclass(frozen=True, slots=True)
class AuthorSpan:
    """A piece of a message's text by one author."""

    author: Author
    text: str

    def __post_init__(self) -> None:
        if self.author not in _AUTHORS or not isinstance(self.text, str):
            raise ValueError(f"a span has a text and one of the authors {', '.join(_AUTHORS)}")


@dataclass(frozen=True, slots=True)
class Authorship:
    """Of one assistant message; the texts of its `spans` together are the message."""

    spans: tuple[AuthorSpan, ...]
    switch: Switched | None = None
    """As in `Reply`; so `seed`, `finish_reason` and `note`."""
    seed: int | None = None
    finish_reason: FinishReason = "stop"
    note: str | None = None
    pair: str = ""
    """The name of the pair that wrote it."""

    @classmethod
    def of(cls, reply: Reply, *, pair: str, opening: str = "", before: Authorship | None = None) -> Authorship:
        """Of a message that was `opening` already when `reply` continued it; `before` may tell who wrote that."""
        spans = [AuthorSpan("given", opening)]
        if before is not None and "".join(span.text for span in before.spans).rstrip() == opening:
            spans = list(before._stripped())
        spans += [AuthorSpan(token.source, token.text) for token in reply.tokens]
        return cls(_joined(spans), reply.switch, reply.seed, reply.finish_reason, reply.note, pair)

    def _stripped(self) -> Iterable[AuthorSpan]:
        """The spans without white space at the end, which a reply that continues them does not keep."""
        n_left = len("".join(span.text for span in self.spans).rstrip())
        for span in self.spans:
            yield AuthorSpan(span.author, span.text[: max(0, n_left)])
            n_left -= len(span.text)

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "spans": [[span.author, span.text] for span in self.spans]}

    @classmethod
    def parse(cls, data: object, content: str) -> Authorship:
        """What `as_json` made, for a message of this content. Raises ValueError or TypeError that says why not."""
        if not isinstance(data, dict):
            raise TypeError("who wrote a message is not an object")
        spans = tuple(AuthorSpan(author, text) for author, text in data["spans"])
        if "".join(span.text for span in spans) != content:
            raise ValueError("the spans of a message are not its content")
        seed, note, pair, reason = data["seed"], data["note"], data["pair"], data["finish_reason"]
        if not isinstance(seed, int | None) or isinstance(seed, bool) or not 0 <= (seed or 0) < _LARGEST_SEED:
            raise ValueError("the seed of a message is not a whole number")
        if not isinstance(note, str | None) or not isinstance(pair, str) or reason not in get_args(FinishReason):
            raise ValueError("the end of a message is not told as it should be")
        return cls(spans, _switch(data["switch"]), seed, reason, note, pair)


def _joined(spans: Iterable[AuthorSpan]) -> tuple[AuthorSpan, ...]:
    """Neighbours by one author as one; none that is empty."""
    runs = groupby((span for span in spans if span.text), key=lambda span: span.author)
    return tuple(AuthorSpan(author, "".join(span.text for span in run)) for author, run in runs)


def _switch(data: object) -> Switched | None:
    if data is None:
        return None
    if not isinstance(data, dict):
        raise TypeError("the switch of a message is not an object")
    index, reason, confidence = data["index"], data["reason"], data["confidence"]
    is_number = isinstance(confidence, int | float) and math.isfinite(confidence)
    if not isinstance(index, int) or reason not in get_args(SwitchReason) or not (confidence is None or is_number):
        raise ValueError("the switch of a message is not told as it should be")
    return Switched(index, reason, confidence)
