"""Requests as clients really send them: one length, a body that ends, paths with or without /v1 and a last slash."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edge_wsd.serve.errors import RequestError, error_response
from edge_wsd.serve.settings import ServeSettings

_VERSION = "/v1"
_NO_TYPE = (b"application/x-www-form-urlencoded", b"text/plain", b"application/octet-stream")
"""What `curl -d`, old scripts and LiteLLM call JSON."""


class BoundedBodies:
    """Refuses bodies that are too large, before they are in memory, and those that do not arrive in time."""

    def __init__(self, app: ASGIApp, settings: ServeSettings) -> None:
        self._app, self._settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdecimal() and int(announced) > self._settings.max_body_bytes:
            await error_response(scope["path"], self._too_large())(scope, receive, send)
            return
        try:
            body = await asyncio.wait_for(self._read(receive), self._settings.body_deadline_s)
        except asyncio.TimeoutError:
            seconds = f"{self._settings.body_deadline_s:g} seconds"
            error = RequestError(f"the body did not arrive within {seconds}", status=408, code="body_deadline_exceeded")
            await error_response(scope["path"], error)(scope, receive, send)
            return
        except RequestError as error:
            await error_response(scope["path"], error)(scope, receive, send)
            return
        if body is None:  # the client left
            return
        is_read = False

        async def replay() -> Message:
            nonlocal is_read
            if is_read:
                return await receive()
            is_read = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, replay, send)

    async def _read(self, receive: Receive) -> bytes | None:
        parts: list[bytes] = []
        size, more = 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self._settings.max_body_bytes:
                raise self._too_large()
            more = message.get("more_body", False)
        return b"".join(parts)

    def _too_large(self) -> RequestError:
        most = self._settings.max_body_bytes
        return RequestError(f"the body may have {most:,} bytes at most (--max-body)", status=413, code="body_too_large")


class OneLength:
    """Refuses requests that say in two ways where they end: a proxy may take the rest of one for the next one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "http" and {"content-length", "transfer-encoding"} <= set(Headers(scope=scope)):
            text = "a request has either Content-Length or Transfer-Encoding, not both"
            refusal = RequestError(text, code="ambiguous_length", headers={"Connection": "close"})
            await error_response(scope["path"], refusal)(scope, receive, send)
            return
        await self._app(scope, receive, send)


class LenientPaths:
    """`/models`, `/v1/models/` and `/v1/health` are found as well as what they mean; `curl -d` sends JSON."""

    def __init__(self, app: ASGIApp, is_route: Callable[[str], bool]) -> None:
        self._app, self._is_route = app, is_route

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "http":
            path = self._meant(scope["path"])
            scope = {**scope, "path": path, "raw_path": path.encode()}
            if scope["method"] == "POST":
                scope["headers"] = _as_json(scope["headers"])
        await self._app(scope, receive, send)

    def _meant(self, path: str) -> str:
        short = path.rstrip("/") or "/"
        others = short.removeprefix(_VERSION) if short.startswith(f"{_VERSION}/") else _VERSION + short
        return next((each for each in (path, short, others) if self._is_route(each)), path)


def _as_json(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    kind = next((value for name, value in headers if name == b"content-type"), b"")
    if kind and kind.partition(b";")[0].strip().lower() not in _NO_TYPE:
        return headers
    return [
        *((name, value) for name, value in headers if name != b"content-type"),
        (b"content-type", b"application/json"),
    ]
