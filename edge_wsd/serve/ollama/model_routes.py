"""`/api/tags`, `/api/show`, `/api/ps`, `/api/version`, and what is refused because it would change models."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from edge_wsd import __version__
from edge_wsd.decoding.options import Mode
from edge_wsd.errors import EdgeWsdError
from edge_wsd.models.pairs.named_pair import NamedPair
from edge_wsd.models.plan.planner import Plan
from edge_wsd.redaction import logger_without_secrets
from edge_wsd.serve.errors import OLLAMA_ERRORS, RequestError
from edge_wsd.serve.model_facts import ListedFacts, context_length, facts_of, lists_and_tensors
from edge_wsd.serve.ollama.details import details_of, digest_of
from edge_wsd.serve.ollama.names import tagged_name
from edge_wsd.serve.ollama.wire import (
    OllamaListedModel,
    OllamaLoadedModel,
    OllamaProcesses,
    OllamaShowAnswer,
    OllamaShowRequest,
    OllamaTags,
    OllamaTensor,
    OllamaVersion,
)
from edge_wsd.serve.state import serve_of

router = APIRouter(prefix="/api", tags=["Ollama"], responses=OLLAMA_ERRORS)
_LOG = logger_without_secrets(__name__)
SPOKEN_VERSION = "0.12.11"
"""The release of Ollama whose interface this is. Clients compare it: Copilot wants 0.6.4 or later."""
FOR_EVER_S = 36500 * 86400.0
"""How far away Ollama says the end of a model is that never leaves."""


@router.get("/version")
async def version() -> OllamaVersion:
    """Which interface this is, and whose."""
    return OllamaVersion(version=SPOKEN_VERSION, edge_wsd=__version__)


@router.get("/tags")
async def tags(request: Request) -> OllamaTags:
    """The pairs whose models are on this machine, each also as its base and its drafter alone."""
    pairs = await asyncio.to_thread(serve_of(request).models.pairs)
    return await asyncio.to_thread(lambda: OllamaTags(models=[*_listed(pairs)]))


for _path, _route in (("/version", version), ("/tags", tags)):  # clients look whether the server is there
    router.add_api_route(_path, _route, methods=["HEAD"], include_in_schema=False)


def _listed(pairs: dict[str, NamedPair]) -> Iterator[OllamaListedModel]:
    """A pair whose files cannot be read is left out, and does not keep the others from being listed."""
    modes: tuple[Mode | None, ...] = (None, "base", "drafter")
    for name, pair in pairs.items():
        try:
            found = [_facts(pair, mode) for mode in modes]
        except EdgeWsdError as error:
            _LOG.warning("pair %s is not listed: %s", name, error)
            continue
        for mode, models in zip(modes, found, strict=True):
            listed = tagged_name(name if mode is None else f"{name}:{mode}")
            yield OllamaListedModel(
                name=listed,
                model=listed,
                modified_at=max(model.modified_at for model in models),
                size=sum(model.n_bytes for model in models),
                digest=digest_of(models),
                details=details_of(models),
            )


def _facts(pair: NamedPair, mode: Mode | None) -> list[ListedFacts]:
    """Of the models that a name means, the base first. Raises `ModelFileError` and `StoreError`."""
    return [facts_of(path) for path in _paths(pair, mode)]


def _paths(pair: NamedPair, mode: Mode | None) -> list[Path]:
    drafter, base = pair.find_models()
    return {"base": [base], "drafter": [drafter]}.get(mode or "", [base, drafter])


@router.get("/ps")
async def processes(request: Request) -> OllamaProcesses:
    """The pairs in memory."""
    models = serve_of(request).models
    leaving = models.loaded()
    found = [(models.parse(name)[0], pair.plan, leaving.get(name)) for name, pair in models.in_memory().items()]
    return await asyncio.to_thread(lambda: OllamaProcesses(models=[_loaded(*each) for each in found]))


def _loaded(named: NamedPair, plan: Plan | None, leaves_s: float | None) -> OllamaLoadedModel:
    models = _facts(named, None)
    memories = [] if plan is None else [plan.drafter.memory, plan.base.memory]
    n_gpu = sum(part.total for memory in memories for part in memory.gpus)
    left = timedelta(seconds=min(leaves_s, FOR_EVER_S) if leaves_s is not None else FOR_EVER_S)
    return OllamaLoadedModel(
        name=tagged_name(named.name),
        model=tagged_name(named.name),
        size=sum(memory.all.total for memory in memories),
        size_vram=n_gpu,
        digest=digest_of(models),
        details=details_of(models),
        expires_at=datetime.now(timezone.utc) + left,
        context_length=0 if plan is None else context_length(plan),
    )


@router.post("/show", response_model=OllamaShowAnswer)
async def show(request: Request, asked: OllamaShowRequest) -> Response:
    """What clients decide by: capabilities, the length of the context, sizes, template."""
    models = serve_of(request).models
    named, mode = models.parse(asked.wanted or None)
    pair = models.in_memory().get(named.name)
    n_ctx = None if pair is None or pair.plan is None else context_length(pair.plan)
    text = await asyncio.to_thread(_shown, named, mode, n_ctx, is_verbose=bool(asked.verbose))
    return Response(text, media_type="application/json")


def _shown(named: NamedPair, mode: Mode | None, n_ctx: int | None, *, is_verbose: bool) -> str:
    models = _facts(named, mode)
    first = models[0]
    drafter = None if mode == "base" else models[-1]
    chat_template = None if drafter is None else drafter.chat_template
    shows_tools = named.drafter_template in (None, "chat") and "tools" in (chat_template or "")
    info = dict(first.metadata)
    info.pop("tokenizer.chat_template", None)
    key = f"{first.architecture}.context_length"
    if n_ctx is not None:  # what can be used: clients fill what they are told
        info[key] = n_ctx
    info["general.parameter_count"] = first.n_parameters
    info["general.basename"] = named.name if mode is None else f"{named.name}:{mode}"  # which clients show as its name
    tensors = None
    if is_verbose:
        lists, found = lists_and_tensors(_paths(named, mode)[0])
        info |= lists
        tensors = [OllamaTensor(name=one.name, type=one.type_name, shape=one.shape) for one in found]
    parameters = {"num_ctx": info.get(key), **named.options}
    shown = OllamaShowAnswer(
        license=first.licence,
        parameters="\n".join(f"{name:<30} {value}" for name, value in parameters.items() if value is not None),
        template=chat_template,
        details=details_of(models),
        model_info={name: value for name, value in info.items() if not _is_nan(value)},
        capabilities=["completion", *(["tools"] if shows_tools else [])],
        tensors=tensors,
        modified_at=max(model.modified_at for model in models),
    )
    return shown.model_dump_json(exclude_none=True)


def _is_nan(value: Any) -> bool:
    """JSON has no such number."""
    return isinstance(value, float) and not math.isfinite(value)


_INSTEAD = {
    "/pull": "`edge-wsd pull OWNER/REPO:TYPE` fetches models, and `edge-wsd pairs` makes pairs of them",
    "/push": "`edge-wsd convert` and `edge-wsd quantize` make files, which you may publish yourself",
    "/create": "`edge-wsd pairs add NAME` makes a pair of two models",
    "/copy": "`edge-wsd pairs add NAME` makes another pair of the same models",
    "/delete": "`edge-wsd models rm NAME` deletes a model, and `edge-wsd pairs rm NAME` forgets a pair",
    "/embed": "edge-wsd makes no embeddings",
    "/embeddings": "edge-wsd makes no embeddings",
}


def _refuse(path: str, instead: str) -> None:
    async def refused() -> None:
        raise RequestError(f"not supported over HTTP: {instead}", status=501, code="not_supported")

    router.add_api_route(path, refused, methods=["DELETE" if path == "/delete" else "POST"], include_in_schema=False)


for _path, _text in _INSTEAD.items():
    _refuse(_path, _text)
