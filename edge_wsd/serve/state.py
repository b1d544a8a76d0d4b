"""What all routes of one server work with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from types import EllipsisType

from fastapi import Request

from edge_wsd.serve.limits import Limits
from edge_wsd.serve.metrics import Metrics
from edge_wsd.serve.served_models import Served, ServedModels
from edge_wsd.serve.settings import ServeSettings


@dataclass(frozen=True, slots=True)
class Serve:
    """`request.app.state.serve`."""

    settings: ServeSettings
    models: ServedModels
    limits: Limits
    metrics: Metrics

    @asynccontextmanager
    async def answering(
        self, request: Request, name: str | None, keep_alive_s: float | EllipsisType | None = ...
    ) -> AsyncIterator[Served]:
        """The pair of this name, in a slot: see `Limits.slot` and `ServedModels.use`, and what they raise."""
        async with AsyncExitStack() as held:
            slot = await held.enter_async_context(self.limits.slot(request))
            using = self.models.use(name, keep_alive_s)
            yield await self.limits.unless_gone(slot, held.enter_async_context(using))


def serve_of(request: Request) -> Serve:
    """The server that a request was sent to."""
    serve: Serve = request.app.state.serve
    return serve
