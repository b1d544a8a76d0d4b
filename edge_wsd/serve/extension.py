"""The field `edge_wsd` of requests, answers and chunks: options of weak-to-strong decoding, and who wrote what.

>>> extended({"threshold": 0.9, "mode": "wsd"}, Options()).threshold
0.9
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, Field, TypeAdapter, WithJsonSchema

from edge_wsd.checks import require
from edge_wsd.decoding.events import (
    Dropped,
    Event,
    Finished,
    Reading,
    Reply,
    Scored,
    Source,
    Switched,
    SwitchReason,
    Token,
)
from edge_wsd.decoding.options import Bias, OptionChanges, Options, parse_bias

LOGPROB_FLOOR = -9999.0
"""Stands for a probability of 0, whose logarithm JSON cannot write. OpenAI's own number for it."""


def _schema_of_options() -> dict[str, Any]:
    """For the OpenAPI document: what `Options` takes, in the forms that JSON has for it."""
    schema = TypeAdapter(Options).json_schema()
    text = {"type": "string"}
    schema["properties"] |= {
        "json_schema": {"anyOf": [text, {"type": "object"}, {"type": "null"}]},
        "logit_bias": {"type": "object", "additionalProperties": {"type": "number"}},
        "stop": {"anyOf": [text, {"type": "array", "items": text}]},
    }
    for described in schema["properties"].values():
        described.pop("default", None)  # what is absent is what the pair is set to
    told = "Any options of the library; the presence of the field asks for the field in the answer."
    return {**schema, "title": "Options", "description": told}


ExtensionRequest = Annotated[dict[str, Any], WithJsonSchema(_schema_of_options())]


class TokenDetail(BaseModel):
    """One token of the answer, in the base's vocabulary. Positions count from 0."""

    position: int
    id: int
    text: str
    author: Source
    logprob: float | None = Field(description="Natural logarithm; null in a chunk while the base has yet to read it.")
    confidence: float | None = Field(description="Geometric mean over the window that ends here; null without one.")


class ScoredDetail(BaseModel):
    """What the base thinks of drafted tokens that were sent already."""

    first: int
    logprobs: list[float]
    confidences: list[float | None]
    repeated: list[bool]


class SwitchDetail(BaseModel):
    """The base takes over behind the token at `index`; -1 if nothing was drafted."""

    index: int
    reason: SwitchReason
    confidence: float | None


class ReadingDetail(BaseModel):
    """A model reads a long prompt: `n_read` of its `n_tokens` new tokens so far."""

    model: Source
    n_read: int
    n_tokens: int


class Extension(BaseModel):
    """In an answer: all tokens, the switch and the statistics. In a chunk: what is new."""

    tokens: list[TokenDetail] | None = None
    scored: ScoredDetail | None = None
    switch: SwitchDetail | None = None
    reading: ReadingDetail | None = None
    dropped: int | None = Field(
        default=None, description="How many of the oldest messages no longer fit into a context."
    )
    stats: dict[str, Any] | None = Field(
        default=None, description="Times in seconds (`_s`), rates (`_tps`) and counts."
    )
    seed: int | None = Field(
        default=None, description="The same seed gives the same answer; null if nothing was sampled."
    )
    note: str | None = None
    stop: str | None = Field(default=None, description="The stop string that ended the answer.")


def extended(given: Mapping[str, Any] | None, options: Options) -> Options:
    """`options` with those of a request's field, of which null is as good as absent. Raises `OptionError`."""
    if not given:
        return options
    changes = {name: value for name, value in given.items() if value is not None}
    if isinstance(changes.get("logit_bias"), Mapping):
        changes["logit_bias"] = biases_of(changes["logit_bias"])
    return options.with_changes(**cast(OptionChanges, changes))


def biases_of(given: Mapping[Any, Any]) -> list[Bias]:
    """JSON has no numbers for keys: digits are a token's id, as on the command line. Raises `OptionError`."""
    for token, bias in given.items():
        number = isinstance(bias, int | float) and not isinstance(bias, bool)
        require(number and token != "", "logit_bias", "an object of token ids or texts, each with a number", bias)
    return [parse_bias(f"{token}={bias}") for token, bias in given.items()]


def extension_of_reply(reply: Reply) -> Extension:
    """The field of a whole answer."""
    tokens = [_token(token, confidence) for token, confidence in zip(reply.tokens, reply.confidences, strict=True)]
    switch = None if reply.switch is None else _switch(reply.switch)
    return Extension(tokens=tokens, switch=switch, **_ending(reply))


def extension_of_event(event: Event) -> Extension:
    """The field of the chunk that tells of an event."""
    match event:
        case Token():
            return Extension(tokens=[_token(event, None)])
        case Scored(first=first, logprobs=logprobs, confidences=confidences, repeated=repeated):
            floored = [floored_logprob(logprob) for logprob in logprobs]
            scored = ScoredDetail(first=first, logprobs=floored, confidences=[*confidences], repeated=[*repeated])
            return Extension(scored=scored)
        case Switched():
            return Extension(switch=_switch(event))
        case Reading(model=model, n_read=n_read, n_tokens=n_tokens):
            return Extension(reading=ReadingDetail(model=model, n_read=n_read, n_tokens=n_tokens))
        case Dropped(n_messages=n_messages):
            return Extension(dropped=n_messages)
        case Finished(reply=reply):
            return Extension(**_ending(reply))


def floored_logprob(logprob: float) -> float:
    """`logprob`, or the floor for one of minus infinity or below it."""
    return LOGPROB_FLOOR if math.isnan(logprob) else max(logprob, LOGPROB_FLOOR)


def _token(token: Token, confidence: float | None) -> TokenDetail:
    return TokenDetail(
        position=token.position,
        id=token.id,
        text=token.text,
        author=token.source,
        logprob=None if token.logprob is None else floored_logprob(token.logprob),
        confidence=confidence,
    )


def _switch(switch: Switched) -> SwitchDetail:
    return SwitchDetail(index=switch.index, reason=switch.reason, confidence=switch.confidence)


def _ending(reply: Reply) -> dict[Literal["stats", "seed", "note", "stop"], Any]:
    stats = {**asdict(reply.stats), "draft_share": reply.stats.draft_share}
    return {"stats": stats, "seed": reply.seed, "note": reply.note, "stop": reply.stop}
