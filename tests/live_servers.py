"""Servers over the demo pair, each in a thread of this process.

>>> with running_server(max_queued=0) as server, server.client() as client:
...     client.get("/health")
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from fastapi import APIRouter

from edge_wsd.llama.context import Context
from edge_wsd.llama.settings import ModelSettings
from edge_wsd.models.pairs.built_in import BUILT_IN_PAIRS
from edge_wsd.serve.app import create_app
from edge_wsd.serve.served_models import ServedModels
from edge_wsd.serve.server import HttpServer, listen
from edge_wsd.serve.settings import ServeSettings
from edge_wsd.serve.state import Serve

CPU = ModelSettings(gpu_layers=0, threads=1, context_length=512)


@dataclass(frozen=True)
class LiveServer:
    """A server that runs in a thread of this process."""

    url: str
    serve: Serve
    loop: asyncio.AbstractEventLoop
    """The server's; use `call` to look at its state."""
    server: HttpServer

    def client(self, **more: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=60, verify=False, **more)  # certificates take long to read

    def call(self, function: Callable[[], Any]) -> Any:
        """The result of `function`, run in the server's loop."""

        async def run() -> Any:
            return function()

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(60)


def demo_models(**more: Any) -> ServedModels:
    """The demo pair, and others when they are asked for; not loaded yet."""
    loading = {"drafter_settings": CPU, "base_settings": CPU, **more.pop("loading", {})}
    return ServedModels(BUILT_IN_PAIRS["demo"], loading, **more)


def decode_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that an answer takes seconds on every machine."""
    run = Context.run

    def slowly(*arguments: Any, **more: Any) -> Any:
        time.sleep(0.005)
        return run(*arguments, **more)

    monkeypatch.setattr(Context, "run", slowly)


@contextmanager
def running_server(
    models: ServedModels | None = None, *, routers: Sequence[APIRouter] = (), **settings: Any
) -> Iterator[LiveServer]:
    """A server with these settings, on a port that is free. It is stopped, and its pairs freed, when the block ends."""
    made = ServeSettings(**{"port": 0, "shutdown_s": 1.0, **settings})
    if models is None:
        models = demo_models(loading={"parallel": made.parallel}, keep_alive_s=made.keep_alive_s)
    ready, urls, loops = threading.Event(), [], []

    def is_ready(url: str) -> None:
        urls.append(url)
        loops.append(asyncio.get_running_loop())
        ready.set()

    app = create_app(made, models)
    for router in routers:
        app.include_router(router)
    with listen(made) as sock:
        server = HttpServer(app, made, on_ready=is_ready)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, name="server of a test")
        thread.start()
        try:
            assert ready.wait(60)
            yield LiveServer(urls[0], app.state.serve, loops[0], server)
        finally:
            server.should_exit = True
            thread.join(60)
            assert not thread.is_alive()
