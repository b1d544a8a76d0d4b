"""What `/v1/responses` is sent and sends."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from edge_wsd.decoding.options import MOST_ALTERNATIVES
from edge_wsd.serve.extension import Extension
from edge_wsd.serve.openai.chat_types import TokenLogprob
from edge_wsd.serve.openai.parameters import ToolParameters

ResponseStatus = Literal["in_progress", "completed", "incomplete", "failed"]


class TextSettings(BaseModel):
    """What else a client says of the text is sent back as it came."""

    model_config = ConfigDict(extra="allow")

    format: dict[str, Any] | None = Field(default=None, description="Type text, json_object or json_schema.")


class ResponsesRequest(ToolParameters):
    """A text or a conversation to be answered. Nothing is stored: send the whole conversation each time."""

    FORMAT_FIELD: ClassVar[str] = "text.format"

    model: str | None = Field(default=None, description="A pair's name, NAME:base or NAME:drafter.")
    input: str | list[dict[str, Any]] = Field(
        description="Text, or messages, items of type function_call and function_call_output; reasoning is left out."
    )
    instructions: str | None = None
    max_output_tokens: int | None = None
    stream: bool | None = None
    text: TextSettings | None = None
    include: list[str] | None = Field(default=None, description='"message.output_text.logprobs" asks for them.')
    top_logprobs: int | None = Field(default=None, ge=0, le=MOST_ALTERNATIVES)
    truncation: Literal["auto", "disabled"] | None = Field(
        default=None,
        description="What happens to a conversation that is longer than the context. auto: its oldest turns are left "
        "out; disabled: an error.",
    )
    metadata: dict[str, Any] | None = None
    background: bool | None = None
    previous_response_id: str | None = None
    conversation: str | dict[str, Any] | None = None
    prompt: dict[str, Any] | None = None

    @property
    def limit(self) -> tuple[str, int | None]:
        return super().limit if self.max_output_tokens is None else ("max_output_tokens", self.max_output_tokens)


class OutputText(BaseModel):
    """Text of an answer."""

    type: Literal["output_text"] = "output_text"
    text: str
    annotations: list[dict[str, Any]]
    logprobs: list[TokenLogprob]


class OutputMessage(BaseModel):
    """What the model says."""

    type: Literal["message"] = "message"
    id: str
    status: ResponseStatus
    role: Literal["assistant"] = "assistant"
    content: list[OutputText]


class OutputCall(BaseModel):
    """What it asks its caller for; `arguments` is JSON text."""

    type: Literal["function_call"] = "function_call"
    id: str
    call_id: str
    status: ResponseStatus
    name: str
    arguments: str


class InputTokensDetails(BaseModel):
    """How many tokens of the prompt were in memory already. What is kept there costs nothing, so none counts as
    written.
    """

    cached_tokens: int
    cache_write_tokens: Literal[0] = 0


class OutputTokensDetails(BaseModel):
    """None of them is hidden."""

    reasoning_tokens: Literal[0] = 0


class ResponseUsage(BaseModel):
    """Tokens of the model that finishes the answer."""

    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int


class ResponseObject(BaseModel):
    """An answer, whole or so far."""

    id: str
    object: Literal["response"] = "response"
    created_at: int
    completed_at: int | None = None
    status: ResponseStatus
    background: Literal[False] = False
    error: None = None
    incomplete_details: dict[str, str] | None = None
    instructions: str | None = None
    max_output_tokens: int | None = None
    metadata: dict[str, Any]
    model: str
    output: list[OutputMessage | OutputCall]
    parallel_tool_calls: bool = True
    previous_response_id: None = None
    store: bool = False
    temperature: float
    presence_penalty: float
    frequency_penalty: float
    text: TextSettings
    tool_choice: str | dict[str, Any]
    tools: list[dict[str, Any]]
    top_p: float
    top_logprobs: int
    truncation: Literal["auto", "disabled"]
    usage: ResponseUsage | None = None
    edge_wsd: Extension | None = None


class ResponseEvent(BaseModel):
    """One event of a stream: what it has depends on its type."""

    type: str
    sequence_number: int
    response: ResponseObject | None = None
    output_index: int | None = None
    item: OutputMessage | OutputCall | None = None
    item_id: str | None = None
    content_index: int | None = None
    part: OutputText | None = None
    delta: str | None = None
    text: str | None = None
    name: str | None = None
    arguments: str | None = None
    logprobs: list[TokenLogprob] | None = None
    edge_wsd: Extension | None = None
