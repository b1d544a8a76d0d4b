"""llama-server's routes to look at prompts: texts to tokens and back, and a conversation as a model reads it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Request
from pydantic import AliasChoices, BaseModel, Field
from starlette.responses import Response

from edge_wsd._native import CancelFlag
from edge_wsd.decoding.events import Source
from edge_wsd.lookups import PiecesOf, PromptOf, TokensOf
from edge_wsd.prompts.messages import Message, parse_messages
from edge_wsd.prompts.tools import Tool
from edge_wsd.serve.errors import OPENAI_ERRORS, RequestError
from edge_wsd.serve.openai.tools import asked_tools
from edge_wsd.serve.served_models import Served
from edge_wsd.serve.state import serve_of

router = APIRouter(responses=OPENAI_ERRORS)
_MOST_BYTES: Final = 1 << 19
"""Of all texts of a request: more than a long context holds, and looked at in a fraction of a second."""
_MOST_IDS: Final = 1 << 17


class OfOneModel(BaseModel):
    """What all these requests have in common."""

    model: str | None = Field(default=None, description="NAME or NAME:base for the base, NAME:drafter for the drafter.")


class TokenizeRequest(OfOneModel):
    """A text, or texts and ids of tokens in turns. vLLM's names of the first two fields are understood as well."""

    content: str | Annotated[list[str | int], Field(max_length=_MOST_IDS)] = Field(
        validation_alias=AliasChoices("content", "prompt")
    )
    add_special: bool = Field(
        default=False,
        validation_alias=AliasChoices("add_special", "add_special_tokens"),
        description="Put BOS in front, where the model has one.",
    )
    parse_special: bool = Field(default=True, description="Turn texts like <|im_end|> into control tokens.")
    with_pieces: bool = False


class TokenPiece(BaseModel):
    """A token and what it stands for: a text, or bytes that are no whole characters."""

    id: int
    piece: str | list[int]


class TokenizeAnswer(BaseModel):
    """The tokens of a text."""

    tokens: list[int] | list[TokenPiece]


class DetokenizeRequest(OfOneModel):
    """Ids of tokens."""

    tokens: list[int] = Field(max_length=_MOST_IDS)


class DetokenizeAnswer(BaseModel):
    """Their text, by llama-server's name and by vLLM's; bytes that are no whole characters become U+FFFD."""

    content: str
    prompt: str


class TokenizerInfo(BaseModel):
    """Special tokens by their texts, and the template in the model's file."""

    tokenizer_class: Literal["edge-wsd"] = "edge-wsd"
    bos_token: str | None
    eos_token: str | None
    chat_template: str | None


class TemplateRequest(OfOneModel):
    """A conversation, and the tools that the model is told of, as for a chat completion."""

    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] | None = Field(default=None, description="Of type function.")
    tool_choice: str | dict[str, Any] | None = Field(default=None, description='With "none" it hears of no tools.')


class TemplateAnswer(BaseModel):
    """The text that the model would continue."""

    prompt: str


@router.post("/tokenize", response_model=TokenizeAnswer)
async def tokenize(request: Request, body: TokenizeRequest) -> Response:
    """The tokens of a text."""

    def tokenized(served: Served, cancel: CancelFlag) -> Response:
        tokens = _tokenized(served, body, cancel)
        if not body.with_pieces:
            return _as_json(tokens=tokens)
        shown = {token: _readable(piece) for token, piece in _pieces(served, tokens, cancel).items()}
        return _as_json(tokens=[{"id": token, "piece": shown[token]} for token in tokens])

    return await serve_of(request).look(request, body.model, tokenized)


def _tokenized(served: Served, body: TokenizeRequest, cancel: CancelFlag) -> Sequence[int]:
    parts = (body.content,) if isinstance(body.content, str) else tuple(body.content)
    _refuse_long(part for part in parts if isinstance(part, str))
    asked = TokensOf(_source(served), parts, special=body.parse_special, bos=body.add_special)
    return served.pair.call(asked, cancel)


def _pieces(served: Served, tokens: Sequence[int], cancel: CancelFlag) -> dict[int, bytes]:
    """What each token stands for; asked for once."""
    different = tuple(dict.fromkeys(tokens))
    return dict(zip(different, served.pair.call(PiecesOf(_source(served), different), cancel), strict=True))


@router.post("/detokenize", response_model=DetokenizeAnswer)
async def detokenize(request: Request, body: DetokenizeRequest) -> Response:
    """The text of tokens."""

    def detokenized(served: Served, cancel: CancelFlag) -> Response:
        pieces = _pieces(served, body.tokens, cancel)
        text = b"".join(pieces[token] for token in body.tokens).decode(errors="replace")
        return _as_json(content=text, prompt=text)

    return await serve_of(request).look(request, body.model, detokenized)


@router.get("/tokenizer_info")
async def tokenizer_info(request: Request, model: str | None = None) -> TokenizerInfo:
    """What clients want to know of a tokenizer that they use from here, as vLLM tells it."""
    async with serve_of(request).models.use(model) as served:
        facts = served.pair.about(_source(served))
        return TokenizerInfo(bos_token=facts.bos, eos_token=facts.eos, chat_template=facts.chat_template)


@router.post("/apply-template", response_model=TemplateAnswer)
async def apply_template(request: Request, body: TemplateRequest) -> Response:
    """A conversation as the base reads it, or as `NAME:drafter` does."""

    def applied(served: Served, cancel: CancelFlag) -> Response:
        messages, tools = parse_messages(body.messages), asked_tools(body.tools, body.tool_choice).tools
        parts: list[Message | Tool] = [*messages, *tools]
        _refuse_long(text for part in parts for text in part.texts())
        return _as_json(prompt=served.pair.call(PromptOf(_source(served), messages, tuple(tools)), cancel))

    return await serve_of(request).look(request, body.model, applied)


def _as_json(**fields: Any) -> Response:
    """An answer that was made in a thread as a whole: the event loop has others to serve."""
    text = json.dumps(fields, ensure_ascii=False)
    return Response(text.encode(errors="replace"), media_type="application/json")


def _refuse_long(texts: Iterable[str]) -> None:
    """Raises `RequestError` for more text than is looked at in a short time."""
    n_bytes = sum(len(text.encode(errors="replace")) for text in texts)
    if n_bytes > _MOST_BYTES:
        text = f"the texts have {n_bytes:,} bytes, and this route takes at most {_MOST_BYTES:,}; send them in parts"
        raise RequestError(text, status=413, code="text_too_long")


def _source(served: Served) -> Source:
    """The one of the two that a name means. The base finishes the answers of both, in its own tokens."""
    return "drafter" if served.mode == "drafter" else "base"


def _readable(piece: bytes) -> str | list[int]:
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return list(piece)
