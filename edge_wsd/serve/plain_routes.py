"""Routes that belong to no one interface: health, metrics, models, and llama-server's way to look at prompts."""

from __future__ import annotations

import asyncio
from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import PlainTextResponse, Response

from edge_wsd.errors import EdgeWsdError
from edge_wsd.models.pairs.named_pair import NamedPair
from edge_wsd.serve.errors import OPENAI_ERRORS, RequestError
from edge_wsd.serve.served_models import ServedModels
from edge_wsd.serve.state import serve_of

router = APIRouter(responses=OPENAI_ERRORS)
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OWNER = "edge-wsd"


class Health(BaseModel):
    """Whether the server answers."""

    status: Literal["ok"] = "ok"


@router.head("/health", include_in_schema=False)
@router.get("/health")
async def health(request: Request) -> Health:
    """200 while the server takes requests, 503 while it stops."""
    if serve_of(request).limits.is_closing:
        raise RequestError("the server is stopping", status=503, code="unavailable")
    return Health()


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    """Counts and times in the format of Prometheus."""
    return Response(serve_of(request).metrics.text(), media_type=METRICS_TYPE)


class ModelCard(BaseModel):
    """A pair, or one of its two models alone."""

    id: str
    object: Literal["model"] = "model"
    created: int = Field(description="When the base's file was made, in seconds since 1970.")
    owned_by: str = OWNER


class ModelList(BaseModel):
    """Every name that a request may give as its model."""

    object: Literal["list"] = "list"
    data: list[ModelCard]


@router.head("/v1/models", include_in_schema=False)
@router.get("/v1/models")
async def model_list(request: Request) -> ModelList:
    """The pairs whose models are on this machine, each also as `NAME:base` and `NAME:drafter`."""
    return await asyncio.to_thread(_listed, serve_of(request).models)


def _listed(models: ServedModels) -> ModelList:
    cards = []
    for name, pair in models.pairs().items():
        created = _created(pair)
        cards += [ModelCard(id=each, created=created) for each in (name, f"{name}:base", f"{name}:drafter")]
    return ModelList(data=cards)


def _created(pair: NamedPair) -> int:
    try:
        return int(pair.find_models()[1].stat().st_mtime)
    except (EdgeWsdError, OSError):  # the files have been moved since the pair was loaded
        return 0


@router.head("/v1/models/{name}", include_in_schema=False)
@router.get("/v1/models/{name}")
async def model(request: Request, name: str) -> ModelCard:
    """One of them."""
    pair, _ = serve_of(request).models.parse(name)
    return ModelCard(id=name, created=await asyncio.to_thread(_created, pair))
