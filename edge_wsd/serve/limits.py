"""How much the server does at once, how long a request may take, and what happens when its client leaves."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

from fastapi import Request

from edge_wsd._native import CancelFlag
from edge_wsd.decoding.events import Event, Finished
from edge_wsd.engine.stream import Stream
from edge_wsd.errors import ContextFullError
from edge_wsd.lookups import CountOf
from edge_wsd.pair import Pair
from edge_wsd.serve.errors import ClientGone, RequestError
from edge_wsd.serve.metrics import Metrics
from edge_wsd.serve.settings import ServeSettings

T = TypeVar("T")
_LONGEST_RETRY_S = 60


class Slot:
    """The right of one request to be answered now. `gone` is done once its client has left."""

    def __init__(self, request: Request, deadline_s: float) -> None:
        self.ends_at = time.monotonic() + deadline_s
        self.gone: asyncio.Future[None] = asyncio.ensure_future(_left(request))

    @property
    def left_s(self) -> float:
        """Until the deadline."""
        return max(0.0, self.ends_at - time.monotonic())


async def _left(request: Request) -> None:
    """Returns once the client has closed its connection. The request's body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


class Limits:
    """One for each server. For one event loop."""

    def __init__(self, settings: ServeSettings, metrics: Metrics) -> None:
        self._settings: Final = settings
        self._metrics: Final = metrics
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._stopping: asyncio.Event = asyncio.Event()  # running answers must end now
        self.running = 0
        self.is_closing = False
        self._usual_s = 1.0  # how long a request has its slot

    @property
    def queued(self) -> int:
        """Requests that wait for a slot."""
        return len(self._waiting)

    @asynccontextmanager
    async def slot(self, request: Request) -> AsyncIterator[Slot]:
        """Waits for the request's turn, and counts it until the block ends. Call it once the body has been read.

        May be entered in one task and left in another. Raises `RequestError` (429 if too many wait, 503 while the
        server stops, 504 at the deadline) and `ClientGone`.
        """
        slot = Slot(request, self._settings.deadline_s)
        try:
            await self._admit(slot)
            request.state.slot, began = slot, time.monotonic()
            try:
                yield slot
            finally:
                self._usual_s += (time.monotonic() - began - self._usual_s) / 8
                self._leave()
        finally:
            slot.gone.cancel()

    async def _admit(self, slot: Slot) -> None:
        if self.is_closing:
            raise _stopping()
        if self.running < self._settings.parallel and not self._waiting:
            self.running += 1
            return
        if len(self._waiting) >= self._settings.max_queued:
            self._metrics.refused.inc()
            raise self._too_many()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await asyncio.wait({turn, slot.gone}, timeout=slot.left_s, return_when=asyncio.FIRST_COMPLETED)
        except BaseException:
            self._withdraw(turn)
            raise
        if not turn.done() or slot.gone.done():
            self._withdraw(turn)
            raise ClientGone("the client left") if slot.gone.done() else self._too_late()
        turn.result()  # raises if the server stops

    def _withdraw(self, turn: asyncio.Future[None]) -> None:
        if not turn.done():
            self._waiting.remove(turn)
        elif turn.exception() is None:
            self._leave()

    def _leave(self) -> None:
        """Gives a slot back: to whoever has waited longest."""
        if self._waiting:
            self._waiting.popleft().set_result(None)
        else:
            self.running -= 1

    async def events(self, request: Request, stream: Stream) -> AsyncGenerator[Event, None]:
        """The events of a reply, inside `slot`. Closes the stream however it ends.

        When the client leaves, the deadline passes or the server stops, the reply is ended within one decode step and
        `ClientGone` or `RequestError` is raised.
        """
        began = time.monotonic()
        watch = asyncio.ensure_future(self._watch(request.state.slot, stream))
        try:
            async for event in stream:
                if isinstance(event, Finished):
                    self._metrics.observe(event.reply, time.monotonic() - began)
                yield event
                if isinstance(event, Finished):
                    return
            raise await watch
        except Exception as error:
            self._metrics.answers.labels(_ends(error)).inc()
            raise
        finally:
            watch.cancel()
            stream.close()

    async def unless_gone(
        self, slot: Slot, work: Coroutine[Any, Any, T], stop: Callable[[], object] | None = None
    ) -> T:
        """The result of what takes a while before anything is written. Ends it early and raises as `events` does.

        What a thread does cannot be cancelled: `stop` asks it to end, and it is waited for, as the slot is in use.
        """
        task, ended = asyncio.ensure_future(work), asyncio.ensure_future(self._ended(slot))
        try:
            await asyncio.wait({task, ended}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise ended.result()
            return task.result()
        finally:
            ended.cancel()
            if not task.done():
                (stop or task.cancel)()
                task.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody asks any more
                await asyncio.wait({task})

    async def in_thread(self, slot: Slot, begin: Callable[[CancelFlag], T]) -> T:
        """What `begin` makes in a thread, which obeys the flag. Raises as `events` does.

        Streams of what comes too late are in nobody's hands, and so cancelled.
        """
        cancel = CancelFlag()
        return await self.unless_gone(slot, asyncio.to_thread(begin, cancel), stop=cancel.set)

    async def _watch(self, slot: Slot, stream: Stream) -> Exception:
        """Ends the stream early when that is needed, and returns why."""
        reason = await self._ended(slot)
        stream.close()
        return reason

    async def _ended(self, slot: Slot) -> Exception:
        """Waits until a request must not be answered any longer, and returns why."""
        stopping = asyncio.ensure_future(self._stopping.wait())
        reasons: set[asyncio.Future[Any]] = {slot.gone, stopping}
        try:
            await asyncio.wait(reasons, timeout=slot.left_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
        if slot.gone.done():
            return ClientGone("the client left")
        return _stopping() if self._stopping.is_set() else self._too_late()

    def check_prompt(self, pair: Pair, texts: Iterable[str], cancel: CancelFlag) -> None:
        """Raises `ContextFullError` if `texts`, which become a prompt, have more tokens than a prompt may have.

        Runs in the caller's thread; what the prompt's template adds is not counted. Raises and obeys `cancel` as
        `Pair.call` does.
        """
        most = self._settings.max_prompt_tokens
        texts = tuple(texts)
        if most is None or sum(len(text.encode(errors="replace")) for text in texts) <= most:
            return
        needed = pair.call(CountOf(texts, most), cancel)
        if needed > most:
            raise ContextFullError(
                f"the prompt has {needed} tokens or more, and this server takes at most {most} (--max-prompt-tokens)",
                needed=needed,
                available=most,
            )

    # The end

    def begin_closing(self) -> None:
        """From now on requests are refused, also those that wait."""
        self.is_closing = True
        while self._waiting:
            self._waiting.popleft().set_exception(_stopping())

    def stop(self) -> None:
        """Ends what is still being written."""
        self.begin_closing()
        self._stopping.set()

    def _too_many(self) -> RequestError:
        rounds = (len(self._waiting) + 1) / self._settings.parallel
        wait_s = max(1, min(_LONGEST_RETRY_S, math.ceil(rounds * self._usual_s)))
        waiting = f"{self.queued} requests are waiting already, the most allowed"
        return RequestError(f"{waiting}; try again later", status=429, code="queue_full", retry_after=wait_s)

    def _too_late(self) -> RequestError:
        text = f"the answer was not complete after {self._settings.deadline_s:g} seconds, the most allowed"
        return RequestError(text, status=504, code="deadline_exceeded")


def _ends(error: Exception) -> str:
    """How an answer ended that is not whole, for the metrics."""
    if isinstance(error, ClientGone):
        return "disconnected"
    return (error.code if isinstance(error, RequestError) else None) or "failed"


def _stopping() -> RequestError:
    return RequestError("the server is stopping", status=503, code="unavailable", retry_after=_LONGEST_RETRY_S)
