"""Requests and answers of Ollama's interface. Null means the same as absent, and unknown fields are ignored."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from edge_wsd.serve.extension import Extension, ExtensionRequest
from edge_wsd.serve.ollama.options import OllamaFormat, OllamaOptions
from edge_wsd.serve.openai.chat_types import TokenLogprob

KeepAlive = float | str | None
DoneReason = Literal["stop", "length", "load", "unload"]


class NamedModelRequest(BaseModel):
    """`model`, which older clients call `name`."""

    model: str = ""
    name: str | None = None

    @property
    def wanted(self) -> str:
        return self.model or self.name or ""


class OllamaAsked(NamedModelRequest):
    """What chat and generate have in common."""

    stream: bool | None = Field(default=None, description="Absent: true, a line of JSON for each piece of text.")
    format: OllamaFormat | None = Field(default=None, description='"json" or a JSON schema.')
    options: OllamaOptions | None = None
    keep_alive: KeepAlive = Field(default=None, description='Seconds or a duration such as "10m"; negative: for ever.')
    think: bool | str | None = None
    logprobs: bool | None = Field(default=None, description="Whether each token is told with its log-probability.")
    top_logprobs: int | None = Field(default=None, description="How many of the likeliest tokens, too; with logprobs.")
    edge_wsd: ExtensionRequest | None = None


class OllamaFunction(BaseModel):
    index: int | None = Field(default=None, description="Which call of the answer it is, from 0.")
    name: str
    arguments: dict[str, Any] = Field(default_factory=dict)


class OllamaToolCall(BaseModel):
    id: str | None = None
    function: OllamaFunction


class OllamaMessage(BaseModel):
    role: str
    content: str | None = None
    images: list[str] | None = None
    tool_calls: list[OllamaToolCall] | None = None
    tool_name: str | None = Field(default=None, description="Of a message of the role `tool`: what was called.")
    tool_call_id: str | None = Field(default=None, description="Of such a message: the id of the call, if it had one.")


class OllamaChatRequest(OllamaAsked):
    messages: list[OllamaMessage] | None = Field(default=None, description="None: load or unload the model.")
    tools: list[dict[str, Any]] | None = None


class OllamaGenerateRequest(OllamaAsked):
    prompt: str | None = Field(default=None, description="Absent or empty: load or unload the model.")
    system: str | None = None
    raw: bool | None = Field(default=None, description="The prompt goes to both models as it is, without a template.")
    template: str | None = None
    suffix: str | None = None
    images: list[str] | None = None
    context: list[int] | None = None


class OllamaShowRequest(NamedModelRequest):
    verbose: bool | None = Field(default=None, description="True: `model_info` has its lists, too, and `tensors`.")


class OllamaAnswer(BaseModel):
    """What answers of both kinds have."""

    model: str
    created_at: datetime
    done: bool
    done_reason: DoneReason | None = None
    total_duration: int | None = Field(default=None, description="Durations are nanoseconds, counts are tokens.")
    load_duration: int | None = None
    prompt_eval_count: int | None = None
    prompt_eval_duration: int | None = Field(default=None, description="Until the first text, waiting aside.")
    eval_count: int | None = None
    eval_duration: int | None = None
    logprobs: list[TokenLogprob] | None = None
    edge_wsd: Extension | None = None


class OllamaReplyMessage(BaseModel):
    role: Literal["assistant"] = "assistant"
    content: str
    tool_calls: list[OllamaToolCall] | None = None


class OllamaChatAnswer(OllamaAnswer):
    """A whole answer, or one line of a stream."""

    message: OllamaReplyMessage


class OllamaGenerateAnswer(OllamaAnswer):
    """A whole answer, or one line of a stream."""

    response: str


class OllamaDetails(BaseModel):
    """The base, or the one model that is named. `families` has the architectures of both."""

    parent_model: str = ""
    format: str = "gguf"
    family: str
    families: list[str]
    parameter_size: str
    quantization_level: str


class OllamaListedModel(BaseModel):
    name: str
    model: str
    modified_at: datetime
    size: int = Field(description="Bytes of all files.")
    digest: str = Field(description="Changes when a file changes; not a hash of the contents.")
    details: OllamaDetails


class OllamaTags(BaseModel):
    models: list[OllamaListedModel]


class OllamaLoadedModel(BaseModel):
    name: str
    model: str
    size: int = Field(description="Bytes in memory.")
    size_vram: int = Field(description="How many of them are on GPUs.")
    digest: str
    details: OllamaDetails
    expires_at: datetime
    context_length: int


class OllamaProcesses(BaseModel):
    models: list[OllamaLoadedModel]


class OllamaTensor(BaseModel):
    name: str
    type: str
    shape: tuple[int, ...] = Field(description="The length of a row first, as in the file.")


class OllamaShowAnswer(BaseModel):
    license: str | None = None
    parameters: str
    template: str | None = Field(default=None, description="The chat template that the drafter uses.")
    details: OllamaDetails
    model_info: dict[str, Any]
    tensors: list[OllamaTensor] | None = None
    capabilities: list[str]
    modified_at: datetime


class OllamaVersion(BaseModel):
    version: str = Field(description="The release of Ollama whose interface this is; clients compare it.")
    edge_wsd: str
