"""What all routes of one server work with."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from types import EllipsisType
from typing import TypeVar

from fastapi import Request

from edge_wsd._native import CancelFlag
from edge_wsd.serve.limits import Limits
from edge_wsd.serve.metrics import Metrics
from edge_wsd.serve.served_models import Served, ServedModels
from edge_wsd.serve.settings import ServeSettings

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Serve:
    """`request.app.state.serve`."""

    settings: ServeSettings
    models: ServedModels
    limits: Limits
    beside: Limits
    """Of requests that only look at a text: they are short, and wait for no answer."""
    metrics: Metrics

    @asynccontextmanager
    async def answering(
        self, request: Request, name: str | None, keep_alive_s: float | EllipsisType | None = ...
    ) -> AsyncIterator[Served]:
        """The pair of this name, in a slot: see `Limits.slot` and `ServedModels.use`, and what they raise."""
        async with self._holding(self.limits, request, name, keep_alive_s) as served:
            yield served

    async def look(self, request: Request, name: str | None, work: Callable[[Served, CancelFlag], T]) -> T:
        """What `work` finds out with the pair of this name, in a thread, beside the answers. Raises as `answering`.

        It must be short: the flag ends only the waiting for a process of the models that hangs.
        """
        async with self._holding(self.beside, request, name) as served:
            return await self.beside.in_thread(request.state.slot, lambda cancel: work(served, cancel))

    @asynccontextmanager
    async def _holding(
        self, limits: Limits, request: Request, name: str | None, keep_alive_s: float | EllipsisType | None = ...
    ) -> AsyncIterator[Served]:
        async with AsyncExitStack() as held:
            slot = await held.enter_async_context(limits.slot(request))
            using = self.models.use(name, keep_alive_s)
            yield await limits.unless_gone(slot, held.enter_async_context(using))

    def begin_closing(self) -> None:
        """See `Limits.begin_closing`."""
        self.limits.begin_closing()
        self.beside.begin_closing()

    def stop(self) -> None:
        """See `Limits.stop`."""
        self.limits.stop()
        self.beside.stop()


def serve_of(request: Request) -> Serve:
    """The server that a request was sent to."""
    serve: Serve = request.app.state.serve
    return serve
