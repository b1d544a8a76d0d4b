"""What `/v1/chat/completions` is sent and sends."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, Field

from edge_wsd.decoding.options import MOST_ALTERNATIVES
from edge_wsd.serve.extension import Extension
from edge_wsd.serve.openai.parameters import Parameters, ToolParameters

MOST_CHOICES = 16
AnswerEnd = Literal["stop", "length", "tool_calls"]


class ChatMessage(BaseModel):
    """A message as clients send it. What else they add, such as a user's name, is ignored."""

    role: str = Field(description="system, developer (the same), user, assistant or tool.")
    content: str | list[dict[str, Any]] | None = Field(
        default=None, description='Text, or parts of type "text". Only a message with tool_calls may have none.'
    )
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None


class StreamOptions(BaseModel):
    """`include_usage` asks for one more chunk, without choices, with the counts of tokens."""

    include_usage: bool | None = None


class CompletionParameters(Parameters):
    """What requests for completions have in common: of a conversation, and of texts."""

    model: str | None = Field(default=None, description="A pair's name, NAME:base or NAME:drafter.")
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    @property
    def tells_usage(self) -> bool:
        """Whether a stream ends with it."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)


class ChatRequest(CompletionParameters, ToolParameters):
    """A conversation to be answered. If its last message is the assistant's, the answer continues that message."""

    FORMAT_FIELD: ClassVar[str] = "response_format"

    messages: list[ChatMessage] = Field(min_length=1)
    n: int | None = Field(default=None, ge=1, le=MOST_CHOICES)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=MOST_ALTERNATIVES)
    response_format: dict[str, Any] | None = Field(
        default=None, description="Type text, json_object or json_schema; the answer is held to it by a grammar."
    )
    functions: list[dict[str, Any]] | None = Field(default=None, description="Refused: the old name of tools.")
    function_call: str | dict[str, Any] | None = Field(
        default=None, description="Refused: the old name of tool_choice."
    )


class TopLogprob(BaseModel):
    """One of the likeliest tokens at a position."""

    token: str
    bytes: list[int]
    logprob: float


class TokenLogprob(TopLogprob):
    """A token of the answer. Under the base, also for what the drafter wrote; -9999 stands for minus infinity."""

    top_logprobs: list[TopLogprob]


class ChoiceLogprobs(BaseModel):
    """One entry for each token."""

    content: list[TokenLogprob]
    refusal: None = None


class CalledFunction(BaseModel):
    """`arguments` is JSON text."""

    name: str
    arguments: str


class AnswerToolCall(BaseModel):
    """A call that the model asks its caller for. `index` is there in chunks only."""

    index: int = 0
    id: str
    type: Literal["function"] = "function"
    function: CalledFunction


class AnswerMessage(BaseModel):
    """The answer. Without text, but with calls, `content` is null."""

    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: None = None
    tool_calls: list[AnswerToolCall] | None = None


class ChatChoice(BaseModel):
    """One of `n` answers."""

    index: int
    message: AnswerMessage
    logprobs: ChoiceLogprobs | None
    finish_reason: AnswerEnd
    edge_wsd: Extension | None = None


class PromptTokensDetails(BaseModel):
    """How many tokens of the prompt were in memory already."""

    cached_tokens: int


class Usage(BaseModel):
    """Tokens of the model that finishes the answer; the prompt counts once, whatever `n` is."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails


class ChatCompletion(BaseModel):
    """Answers, whole. With `n` above 1 the extension field stands in each choice, not at the top."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChatChoice]
    usage: Usage
    edge_wsd: Extension | None = None


class AnswerDelta(BaseModel):
    """What a chunk adds to an answer. The first one tells the role."""

    role: Literal["assistant"] | None = None
    content: str | None = None
    refusal: None = None
    tool_calls: list[AnswerToolCall] | None = None


class ChunkChoice(BaseModel):
    """To which answer it is added, and in the last chunk how that ended."""

    index: int
    delta: AnswerDelta
    logprobs: ChoiceLogprobs | None = None
    finish_reason: AnswerEnd | None = None


class ChatChunk(BaseModel):
    """One event of a stream; the last is `[DONE]`."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChunkChoice]
    usage: Usage | None = None
    edge_wsd: Extension | None = None
