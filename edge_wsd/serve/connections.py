"""Connections that do not say in time what they want are closed: each of them holds a file of the process open.

>>> uvicorn.Config(app, http=partial(PunctualConnection, head_deadline_s=60.0))
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol


class PunctualConnection(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """uvicorn's, which waits for ever for the rest of a request's head, and for a first request.

    Both have `head_deadline_s` seconds here, however little of it comes meanwhile.
    """

    def __init__(self, *arguments: Any, head_deadline_s: float, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._head_deadline_s = head_deadline_s
        self._closing: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        """As uvicorn's."""
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        """As uvicorn's."""
        if not self._is_answering:
            self._await_head()
        super().data_received(data)
        if self._is_answering:
            self._stop_waiting()

    def connection_lost(self, error: Exception | None) -> None:
        """As uvicorn's."""
        self._stop_waiting()
        super().connection_lost(error)

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _await_head(self) -> None:
        if self._closing is None:
            self._closing = self.loop.call_later(self._head_deadline_s, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._closing is not None:
            self._closing.cancel()
            self._closing = None
