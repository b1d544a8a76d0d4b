"""The page's files and what they need to know.

>>> app.include_router(router)
"""

from __future__ import annotations

import asyncio
from functools import cache
from importlib.resources import files
from typing import Any, Final

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from edge_wsd.decoding.options import MODES, OF_ONE_RULE, RULES, Options
from edge_wsd.demo.examples import DEMO_NOTE, DEMO_WARNING, EXAMPLES
from edge_wsd.models.pairs.built_in import DEMO_PAIRS
from edge_wsd.models.pairs.named_pair import NamedPair
from edge_wsd.serve.errors import OPENAI_ERRORS, RequestError
from edge_wsd.serve.security import PAGE_FILES
from edge_wsd.serve.served_models import ServedModels
from edge_wsd.serve.state import serve_of

router = APIRouter()

# Scripts and styles are files of this server alone, and nothing is ever parsed as HTML.
POLICY: Final = "; ".join((
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self'",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
))  # fmt: skip
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-cache",  # a newer server has newer files
    "Vary": "Accept",
}
_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
OLLAMA_IS_THERE: Final = "Ollama is running"
_OPTIONS: Final = ("mode", "rule", "threshold", "window", "nudge_below", "max_tokens", "temperature", "seed")


@cache
def page_files() -> dict[str, tuple[str, bytes]]:
    """Types and contents of the page's files, by name."""
    folder = files(__package__).joinpath("static")
    return {entry.name: (_TYPES["." + entry.name.rsplit(".")[-1]], entry.read_bytes()) for entry in folder.iterdir()}


def _response(name: str) -> Response:
    kind, content = page_files()[name]
    return Response(content, headers=HEADERS, media_type=kind)


@router.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
async def page(request: Request) -> Response:
    """The page for a browser; other programs learn here whether Ollama is there, in its own words."""
    if "text/html" not in request.headers.get("accept", ""):
        return Response(OLLAMA_IS_THERE, media_type="text/plain", headers={"Vary": "Accept"})
    return _response("index.html")


@router.api_route("/favicon.ico", methods=["GET", "HEAD"], include_in_schema=False)
async def icon() -> Response:
    """For browsers that ask for it whatever the page says."""
    return _response("icon.svg")


@router.api_route(PAGE_FILES + "{name}", methods=["GET", "HEAD"], include_in_schema=False)
async def file(name: str) -> Response:
    """One of the page's files."""
    if name not in page_files():
        raise RequestError(f"the page has no file {name!r}", status=404)
    return _response(name)


class PairOnPage(BaseModel):
    """A pair that can be chosen."""

    name: str
    options: dict[str, Any] = Field(description="What the pair is set to, of the options that the page can change.")
    examples: list[str] = Field(description="Questions to begin with; empty where none are known to go well.")
    remarks: list[str] = Field(description="What a person should know who talks to it.")


class PageConfig(BaseModel):
    """What the page offers. The first pair is the one that answers where none is named."""

    pairs: list[PairOnPage]
    modes: list[str]
    rules: list[str]
    of_one_rule: dict[str, str] = Field(description="Options that mean something with one rule alone.")


@router.get("/page/config", responses=OPENAI_ERRORS)
async def config(request: Request) -> PageConfig:
    """Pairs, what they are set to, and questions to begin with."""
    return await asyncio.to_thread(_config, serve_of(request).models)


def _config(models: ServedModels) -> PageConfig:
    pairs = [_on_page(pair, models.options_of(pair)) for pair in models.pairs().values()]
    return PageConfig(pairs=pairs, modes=[*MODES], rules=[*RULES], of_one_rule=dict(OF_ONE_RULE))


def _on_page(pair: NamedPair, options: Options) -> PairOnPage:
    is_demo = pair.is_built_in and pair.name in DEMO_PAIRS
    return PairOnPage(
        name=pair.name,
        options={name: getattr(options, name) for name in _OPTIONS},
        examples=[*EXAMPLES] if is_demo else [],
        remarks=[DEMO_NOTE, DEMO_WARNING] if is_demo else [],
    )
