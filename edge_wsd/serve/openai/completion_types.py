"""What `/v1/completions` is sent and sends."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field, field_validator, model_validator

from edge_wsd.decoding.options import MOST_ALTERNATIVES
from edge_wsd.serve.extension import Extension
from edge_wsd.serve.openai.chat_types import CompletionParameters, Usage

DEFAULT_MAX_TOKENS = 16
"""OpenAI's, of this interface."""
MOST_CHOICES = 128
"""Prompts times answers to each."""
CompletionEnd = Literal["stop", "length"]


class CompletionRequest(CompletionParameters):
    """A text to be written on as it stands, without a template; or several, each an answer of its own.

    Text that looks like a control token is that token, unless `edge_wsd` says `"special": false`.
    """

    prompt: str | list[str] | list[int] | list[list[int]] = Field(
        description="A text or token ids of the model that finishes the answer (the base, but for NAME:drafter); or a "
        "list of them."
    )
    max_tokens: int | None = Field(
        default=None,
        description="0 writes nothing: with echo and logprobs the prompt is scored. -1: to the context's end.",
    )
    n_predict: int | None = Field(default=None, description="llama.cpp's name of max_tokens, which is preferred to it.")
    n: int | None = Field(default=None, ge=1, le=MOST_CHOICES, description="Answers to each prompt.")
    best_of: int | None = Field(default=None, description="Not more than n: every answer that is written is sent.")
    echo: bool | None = Field(default=None, description="The answer begins with the prompt.")
    logprobs: int | None = Field(
        default=None,
        ge=0,
        le=MOST_ALTERNATIVES,
        description="Log-probabilities of the tokens, with so many of the likeliest at each position.",
    )
    response_format: dict[str, Any] | None = Field(default=None, description="As that of chat completions.")
    suffix: str | None = Field(default=None, description="Refused: the models of a pair write on, and fill no gaps.")

    @property
    def schema_field(self) -> str:
        return "json_schema" if self.json_schema else "response_format"

    @field_validator("logprobs", mode="before")
    @classmethod
    def _as_number(cls, given: Any) -> Any:
        """Some clients send false for none, as chat completions want it."""
        return None if given is False else given

    @model_validator(mode="after")
    def _bound(self) -> CompletionRequest:
        if self.max_tokens is None:
            self.max_tokens = self.n_predict
        return self


class LegacyLogprobs(BaseModel):
    """One entry for each token, under the model that finishes the answer. The token that ends an answer is among them.

    A token that is no whole character is called `bytes:\\xf0\\x9f`. -9999 stands for minus infinity.
    """

    tokens: list[str]
    token_logprobs: list[float | None] = Field(description="Null for the first token of an echoed prompt.")
    top_logprobs: list[dict[str, float] | None] = Field(
        description="The likeliest tokens, and the one that stands there, which may be one more."
    )
    text_offset: list[int] = Field(description="Where each token begins in the choice's text, in characters.")


class CompletionChoice(BaseModel):
    """One answer, or in a chunk what it goes on with. In a chunk, log-probabilities of drafted tokens come once the
    base has taken over.
    """

    text: str
    index: int
    logprobs: LegacyLogprobs | None = None
    finish_reason: CompletionEnd | None
    edge_wsd: Extension | None = None


class TextCompletion(BaseModel):
    """Answers, whole or as one event of a stream. With several choices the extension field stands in each of them."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    system_fingerprint: str
    choices: list[CompletionChoice]
    usage: Usage | None = None
    edge_wsd: Extension | None = None
