"""Runs the application until it is told to stop, and stops without cutting anybody off at once.

>>> with listen(settings) as sock:
...     HttpServer(create_app(settings, models), settings, on_ready=print).run(sockets=[sock])
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import uvicorn
from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from edge_wsd.errors import EdgeWsdError
from edge_wsd.serve.connections import PunctualConnection
from edge_wsd.serve.settings import ServeSettings
from edge_wsd.serve.state import Serve

_MOST_CONNECTIONS_WAITING = 128
_ENDING_S = 0.5
"""How long answers that were ended may take to do so."""
_LAST_WORDS_S = 5.0
"""How long connections may take to close once nothing is written any more."""


def listen(settings: ServeSettings) -> socket.socket:
    """A socket that takes connections from now on. Raises `EdgeWsdError` if the address cannot be had."""
    host, port = settings.host, settings.port
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise EdgeWsdError(f"host {host!r} is no address of this machine: {error}") from error
    family, _, _, _, address = min(found, key=lambda one: one[0] != socket.AF_INET)  # localhost may be both
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if sys.platform != "win32":  # where it would let two servers share a port
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(_MOST_CONNECTIONS_WAITING)
    except OSError as error:
        sock.close()
        raise EdgeWsdError(
            f"{host} port {port} cannot be listened on: {error.strerror or error}; choose another with --port"
        ) from error
    return sock


class HttpServer(uvicorn.Server):
    """Runs until a signal comes or `should_exit` is set."""

    def __init__(self, app: FastAPI, settings: ServeSettings, on_ready: Callable[[str], object]) -> None:
        """`on_ready` is called with the server's URL once it takes requests."""
        config = uvicorn.Config(
            self._abortable,
            interface="asgi3",
            http=cast(Any, partial(PunctualConnection, head_deadline_s=settings.body_deadline_s)),
            log_config=None,
            access_log=False,
            lifespan="on",
            server_header=False,
            proxy_headers=False,
            ws="none",
            timeout_graceful_shutdown=int(settings.shutdown_s + _LAST_WORDS_S),
        )
        super().__init__(config)
        self._app, self._settings, self._on_ready = app, settings, on_ready
        self._state: Serve = app.state.serve

    async def _abortable(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The application, whose requests find in `request.state.abort` how to drop their connection."""
        if scope["type"] == "http":
            scope["state"]["abort"] = partial(self._abort, scope["client"])
        await self._app(scope, receive, send)

    def _abort(self, client: tuple[str, int]) -> None:
        """Closes a connection at once, whatever its client has not read yet."""
        for connection in self.server_state.connections:
            if getattr(connection, "client", None) == client:
                connection.transport.abort()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's."""
        await super().startup(sockets)
        if self.started and sockets:
            host, port = sockets[0].getsockname()[:2]
            self._on_ready(self._settings.url(host, port))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answers may be finished for a while; then they are ended, and soon after whatever they may wait for."""
        self._state.begin_closing()
        ending = asyncio.ensure_future(self._end())
        try:
            await super().shutdown(sockets)
        finally:
            ending.cancel()

    async def _end(self) -> None:
        await asyncio.sleep(self._settings.shutdown_s)
        self._state.stop()
        await asyncio.sleep(_ENDING_S)
        await asyncio.shield(self._state.models.aclose())  # a process of models that hangs would be waited for
