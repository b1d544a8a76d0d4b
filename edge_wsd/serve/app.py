"""The application: every family of routes around one set of pairs, limits and metrics.

>>> uvicorn.run(create_app(ServeSettings(), models))
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Match

from edge_wsd import __version__
from edge_wsd.serve import errors, ollama, plain_routes, prompt_routes, props
from edge_wsd.serve.limits import Limits
from edge_wsd.serve.metrics import CountedRequests, Metrics
from edge_wsd.serve.openai import chat, completions, responses
from edge_wsd.serve.page import routes as page_routes
from edge_wsd.serve.requests import BoundedBodies, LenientPaths, OneLength
from edge_wsd.serve.security import KeyLock, OwnNames
from edge_wsd.serve.served_models import ServedModels
from edge_wsd.serve.settings import ServeSettings
from edge_wsd.serve.state import Serve

MOST_BESIDE = 16
"""Requests that only look at a text, not answered yet: one at a time is, and one more is refused."""
ROUTERS = (
    plain_routes.router,
    prompt_routes.router,
    chat.router,
    completions.router,
    responses.router,
    props.router,
    *ollama.ROUTERS,
    page_routes.router,
)


def create_app(settings: ServeSettings, models: ServedModels) -> FastAPI:
    """The server as an ASGI application, which closes `models` when it stops."""
    metrics = Metrics()
    limits = Limits(settings, metrics)
    metrics.watch_queue(lambda: limits.running, lambda: limits.queued)
    beside = Limits(replace(settings, parallel=1, max_queued=MOST_BESIDE), metrics)
    serve = Serve(settings, models, limits, beside, metrics)
    metrics.pairs.set_function(lambda: len(models.loaded()))

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await models.start()
        yield
        serve.stop()
        await models.aclose()

    app = FastAPI(
        title="edge-wsd",
        version=__version__,
        description="Weak-to-strong decoding: a small aligned model begins the answer, a large base model finishes it.",
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url=None,  # the documents load scripts from other hosts
        redoc_url=None,
    )
    app.state.serve = serve
    for router in ROUTERS:
        app.include_router(router)
    errors.install(app)

    def is_route(path: str) -> bool:
        scope = {"type": "http", "path": path, "method": "GET", "headers": []}
        return any(route.matches(scope)[0] is not Match.NONE for route in app.router.routes)

    # The last one added is the first that a request meets.
    app.add_middleware(BoundedBodies, settings=settings)
    app.add_middleware(KeyLock, keys=settings.api_keys)
    if settings.allow_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=[origin.lower() for origin in settings.allow_origins],  # as browsers send them
            allow_methods=["*"],
            allow_headers=["*"],
            allow_private_network=True,  # a page of a public site asks for it, to use a server on its user's machine
            expose_headers=["Retry-After"],
        )
    names = [*settings.allow_hosts, *([] if settings.is_loopback else [settings.host, socket.gethostname()])]
    app.add_middleware(OwnNames, names=names, origins=settings.allow_origins)
    app.add_middleware(OneLength)
    app.add_middleware(CountedRequests, metrics=metrics)
    app.add_middleware(LenientPaths, is_route=is_route)
    return app
