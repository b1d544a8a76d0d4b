"""An answer that is sent while it is written.

>>> return await live_response(request, chunks)  # an async generator of bytes
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable
from typing import Final

from fastapi import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from edge_wsd.serve.errors import ClientGone, error_body, failure_of
from edge_wsd.serve.state import serve_of

SSE = "text/event-stream"
NDJSON = "application/x-ndjson"
_HEARTBEAT: Final = b": still working\n\n"
_LAST_LINE_S: Final = 1.0
"""How long after its deadline an answer's last line may still be on its way."""
_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


class LiveResponse(Response):
    """Sends what a generator yields, and closes the generator however it ends.

    An error of the generator is the last line. While nothing comes, a stream of server-sent events gets a line of
    comment every `heartbeat_s` seconds. A client that reads nothing more keeps the generator waiting until `ends_at`,
    by `time.monotonic`: then `abort` drops the connection.
    """

    def __init__(
        self,
        first: asyncio.Future[bytes],
        rest: AsyncGenerator[bytes, None],
        media_type: str,
        heartbeat_s: float,
        *,
        ends_at: float,
        abort: Callable[[], object],
    ) -> None:
        """`first` is the generator's first chunk, which may be still to come."""
        super().__init__(None, 200, _HEADERS, media_type)
        del self.headers["content-length"]
        self._first, self._rest = first, rest
        self._heartbeat_s = heartbeat_s if media_type == SSE else None
        self._ends_at, self._abort = ends_at, abort
        self._sent_at = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        left_s = self._ends_at - time.monotonic()
        aborting = asyncio.get_running_loop().call_later(left_s + _LAST_LINE_S, self._abort)
        try:
            await self._answer(scope, send)
        finally:
            aborting.cancel()

    async def _answer(self, scope: Scope, send: Send) -> None:
        beating: asyncio.Future[None] | None = None
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            self._sent_at = time.monotonic()
            if self._heartbeat_s is not None:
                beating = asyncio.ensure_future(self._beat(send, self._heartbeat_s))
            await self._send(send, await self._first)
            async for chunk in self._rest:
                await self._send(send, chunk)
        except ClientGone:
            return
        except Exception as error:  # the status has been sent: all that is left is a last line
            failure = json.dumps(error_body(scope["path"], failure_of(error)))
            await self._send(send, (f"data: {failure}\n\n" if self.media_type == SSE else f"{failure}\n").encode())
        finally:
            if beating is not None:
                beating.cancel()
            await _closed(self._first, self._rest)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send(self, send: Send, chunk: bytes) -> None:
        if chunk:
            self._sent_at = time.monotonic()
            await send({"type": "http.response.body", "body": chunk, "more_body": True})

    async def _beat(self, send: Send, every_s: float) -> None:
        while True:
            quiet_s = time.monotonic() - self._sent_at
            if quiet_s >= every_s:
                await self._send(send, _HEARTBEAT)
            else:
                await asyncio.sleep(every_s - quiet_s)


async def live_response(request: Request, chunks: AsyncGenerator[bytes, None], media_type: str = SSE) -> Response:
    """Waits for the first chunk, so that what fails before it is an ordinary error, and then sends as they come.

    Where nothing comes for a while, because others are answered first or a pair is loaded, server-sent events begin
    nevertheless. Let the generator yield an empty chunk once it has its slot and its stream: nothing is sent for it. An
    error that comes later becomes a last line, in OpenAI's or Ollama's form.
    """
    settings = serve_of(request).settings
    heartbeat_s, ends_at = settings.heartbeat_s, time.monotonic() + settings.deadline_s
    first: asyncio.Future[bytes] = asyncio.ensure_future(anext(chunks, b""))
    try:
        await asyncio.wait({first}, timeout=heartbeat_s if media_type == SSE else None)
        if first.done():
            first.result()  # raises what came instead
    except BaseException:
        await _closed(first, chunks)
        raise
    return LiveResponse(first, chunks, media_type, heartbeat_s, ends_at=ends_at, abort=request.state.abort)


async def _closed(first: asyncio.Future[bytes], rest: AsyncGenerator[bytes, None]) -> None:
    """Ends a generator, also while its first chunk is waited for."""
    if not first.done():
        first.cancel()
        await asyncio.wait({first})
    await rest.aclose()
