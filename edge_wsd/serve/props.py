"""`/props`, which clients of llama.cpp's server read for the length of the context and the chat template."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from edge_wsd import __version__
from edge_wsd.models.pairs.named_pair import NamedPair
from edge_wsd.serve.errors import OPENAI_ERRORS
from edge_wsd.serve.model_facts import context_length, facts_of
from edge_wsd.serve.state import serve_of

router = APIRouter(responses=OPENAI_ERRORS)
_SAMPLING = ("temperature", "top_k", "top_p", "min_p", "repeat_penalty", "presence_penalty", "frequency_penalty")


class GenerationSettings(BaseModel):
    """What holds where a request says nothing."""

    n_ctx: int = Field(description="Tokens of a conversation; 0 while the pair is not in memory.")
    params: dict[str, Any]


class Props(BaseModel):
    """llama-server's description of itself, as far as it says something of a pair."""

    default_generation_settings: GenerationSettings
    total_slots: int
    model_alias: str
    model_path: str = Field(description="The base's file.")
    chat_template: str = Field(description="The drafter's; the base's prompt is plain text.")
    modalities: dict[str, bool]
    build_info: str
    is_sleeping: bool = Field(description="Whether the pair has yet to be loaded, when it is asked.")


@router.get("/props")
async def props(request: Request, model: str | None = None) -> Props:
    """Of the pair named `model`, or of the default one."""
    serve = serve_of(request)
    models = serve.models
    named, _ = models.parse(model)
    pair = models.in_memory().get(named.name)
    plan = None if pair is None else pair.plan
    options = models.options_of(named)
    path, template = await asyncio.to_thread(_files, named)
    return Props(
        default_generation_settings=GenerationSettings(
            n_ctx=0 if plan is None else context_length(plan),
            params={name: getattr(options, name) for name in _SAMPLING},
        ),
        total_slots=serve.settings.parallel,
        model_alias=named.name,
        model_path=path,
        chat_template=template,
        modalities={"vision": False, "audio": False},
        build_info=f"edge-wsd {__version__}",
        is_sleeping=pair is None,
    )


def _files(named: NamedPair) -> tuple[str, str]:
    drafter, base = named.find_models()
    return str(base), facts_of(drafter).chat_template or ""
