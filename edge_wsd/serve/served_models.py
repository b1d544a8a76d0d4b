"""The pairs that a server answers with, by name: loaded when they are asked for, let go when they have been idle.

>>> async with models.use("demo:drafter") as served:
...     served.pair, served.mode
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import EllipsisType
from typing import Any, Final, cast

from edge_wsd._native import CancelFlag
from edge_wsd.decoding.events import SOURCES
from edge_wsd.decoding.options import Mode, OptionChanges, Options
from edge_wsd.errors import Cancelled, ClosedError, EdgeWsdError, PairsFileError, WorkerError
from edge_wsd.models.pairs.known import find_pair, known_pairs
from edge_wsd.models.pairs.named_pair import TEMPLATE_KEYS, NamedPair
from edge_wsd.models.plan.planner import plan_pair
from edge_wsd.pair import Pair
from edge_wsd.redaction import logger_without_secrets
from edge_wsd.serve.errors import RequestError

_LOG = logger_without_secrets(__name__)
_LATEST = "latest"
_LEAST_KEPT_S = 5.0
"""A pair that was just loaded waits at least so long for whoever asked for it."""
_STALLED_S = 60.0
"""How long loading may make no progress once all who waited for it have left; a slow disk takes less."""


@dataclass(frozen=True, slots=True)
class Served:
    """What answers a request: a pair in memory, and which of its models write."""

    name: str
    """As the client asked for it, with `:base` or `:drafter`."""
    pair: Pair
    mode: Mode


@dataclass
class _Resident:
    """A pair in memory."""

    pair: Pair
    keep_alive_s: float | None
    n_users: int = 0
    last_used: float = field(default_factory=time.monotonic)
    expiry: asyncio.TimerHandle | None = None


class _Loading:
    """A pair on its way into memory."""

    def __init__(self, load: Callable[[_Loading], Coroutine[Any, Any, None]]) -> None:
        self.cancel = CancelFlag()
        self._n_waiting = 0
        self._heard_at = time.monotonic()
        self.task = asyncio.ensure_future(load(self))
        self.task.add_done_callback(lambda done: done.cancelled() or done.exception())  # all may have left

    def hear(self, *_: object) -> None:
        """It makes progress. In the thread that loads."""
        self._heard_at = time.monotonic()

    async def wait(self) -> None:
        """Returns once the pair is in memory; raises why it is not. Others may wait for it when one leaves."""
        self._n_waiting += 1
        try:
            await asyncio.shield(self.task)
        finally:
            self._n_waiting -= 1
            if not self._n_waiting:
                self._end_if_stalled()

    def _end_if_stalled(self) -> None:
        """Now or later, unless it goes on: whoever comes meanwhile would wait in vain."""
        left_s = self._heard_at + _STALLED_S - time.monotonic()
        if self.task.done():
            return
        if left_s <= 0:
            self.cancel.set()
        else:
            asyncio.get_running_loop().call_later(left_s, self._end_if_stalled)


class ServedModels:
    """For one event loop, but for `put`, which may come before it. Owns the pairs; `aclose` frees them."""

    def __init__(
        self,
        default: NamedPair,
        loading: Mapping[str, Any] | None = None,
        *,
        changes: OptionChanges | None = None,
        keep_alive_s: float | None = None,
    ) -> None:
        """`default` answers where no model is named. `loading` are arguments of `Pair.load`, of which the templates
        are for the default pair alone; `changes` are options of every pair. An idle pair leaves after `keep_alive_s`
        seconds; None for never.
        """
        self._default: Final = default if default.name else replace(default, name=_name_of(default))
        self._loading: Final = dict(loading or {})
        self._changes: Final = changes or OptionChanges()
        self._keep_alive_s: Final = keep_alive_s
        self._residents: dict[str, _Resident] = {}
        self._loads: dict[str, _Loading] = {}
        self._memory = asyncio.Lock()  # whoever loads or frees a pair
        self._is_closed = False

    @property
    def default_name(self) -> str:
        """The pair that answers where none is named."""
        return self._default.name

    def put(self, pair: Pair) -> None:
        """Takes over the default pair, loaded already."""
        self._residents[self.default_name] = _Resident(pair, self._keep_alive_s)

    async def start(self) -> None:
        """Counts the time of pairs that nobody asks, from now on."""
        for name, resident in self._residents.items():
            self._leave_later(name, resident)

    # Names

    def pairs(self) -> dict[str, NamedPair]:
        """The pairs that can be asked for: the default one first, then all whose models are in the store."""
        found = {self.default_name: self._default}
        for name, pair in known_pairs().items():
            with suppress(EdgeWsdError):
                pair.find_models()
                found.setdefault(name, pair)
        return found

    def names(self) -> list[str]:
        """Every name that a request may give as its model."""
        return [name for pair in self.pairs() for name in (pair, *(f"{pair}:{source}" for source in SOURCES))]

    def parse(self, name: str | None) -> tuple[NamedPair, Mode | None]:
        """The pair that `name` means, and the mode that it asks for. Raises `RequestError` 404 for an unknown one."""
        pair, _, part = (name or self.default_name).partition(":")
        if part not in ("", _LATEST, *SOURCES):
            raise _unknown(f"there is no model {name!r}; behind a pair's name may stand :base or :drafter")
        mode = cast(Mode, part) if part in SOURCES else None
        if pair == self.default_name:
            return self._default, mode
        try:
            return find_pair(pair), mode
        except PairsFileError as error:
            raise _unknown(str(error)) from error

    def options_of(self, named: NamedPair) -> Options:
        """What answers of this pair have where a request says nothing else, whether or not it is in memory."""
        if named.name in self._residents:
            return self._residents[named.name].pair.options
        return Options(**named.options).with_changes(**self._changes)

    def loaded(self) -> dict[str, float | None]:
        """The pairs in memory, with the seconds until each leaves if nobody asks it; None: never, or in use."""
        now = time.monotonic()
        return {
            name: None if one.expiry is None else max(0.0, one.last_used + (one.keep_alive_s or 0.0) - now)
            for name, one in self._residents.items()
        }

    def in_memory(self) -> dict[str, Pair]:
        """The pairs in memory, to look at: they may leave at any time."""
        return {name: one.pair for name, one in self._residents.items()}

    # Use

    @asynccontextmanager
    async def use(self, name: str | None, keep_alive_s: float | EllipsisType | None = ...) -> AsyncIterator[Served]:
        """The pair of this name, loaded if need be, which stays in memory until the block ends and for a while after.

        `keep_alive_s` is how long, from now on; None for ever. May be entered in one task and left in another. Raises
        `RequestError`: 404 for an unknown name, 503 if there is no memory; and whatever `Pair.load` raises.
        """
        named, mode = self.parse(name)
        resident = await self._resident(named)
        resident.n_users += 1
        if keep_alive_s is not ...:
            resident.keep_alive_s = keep_alive_s
        self._stay(resident)
        try:
            pair = resident.pair
            yield Served(name or named.name, pair, mode or pair.options.mode)
        except (WorkerError, ClosedError):  # it will not answer again: the next request loads it anew
            if self._residents.get(named.name) is resident:
                del self._residents[named.name]
                _LOG.warning("pair %s has failed and will be loaded again", named.name)
            raise
        finally:
            resident.n_users -= 1
            self._leave_later(named.name, resident)

    async def _resident(self, named: NamedPair) -> _Resident:
        while (resident := self._residents.get(named.name)) is None:
            self._require_open()
            if named.name not in self._loads:
                self._loads[named.name] = _Loading(partial(self._load, named))
            await self._loads[named.name].wait()
        return resident

    async def _load(self, named: NamedPair, loading: _Loading) -> None:
        try:
            async with self._memory:
                settings = self._loading_of(named)
                drafter, base = await asyncio.to_thread(named.find_models)
                await self._make_room(drafter, base, settings)
                told: dict[str, Any] = {"name": named.name, "progress": loading.hear, "cancel": loading.cancel}
                pair = await asyncio.to_thread(partial(Pair.load, drafter, base, **told, **settings))
                pair.options = self.options_of(named)
                resident = self._residents[named.name] = _Resident(pair, self._keep_alive_s)
                self._leave_later(named.name, resident, at_least_s=_LEAST_KEPT_S)
                _LOG.info("pair %s was loaded", named.name)
        except Cancelled:
            self._require_open()
            text = f"pair {named.name} was not loaded: nothing was heard of it for {_STALLED_S:g} seconds; try again"
            raise RequestError(text, status=503, code="loading_stalled", retry_after=1) from None
        finally:
            del self._loads[named.name]

    def _require_open(self) -> None:
        if self._is_closed:
            raise ClosedError("the server is stopping")

    def _loading_of(self, named: NamedPair) -> dict[str, Any]:
        if named is self._default:
            return {**named.templates, **self._loading}
        return {**named.templates, **{key: each for key, each in self._loading.items() if key not in TEMPLATE_KEYS}}

    # Memory

    async def _make_room(self, drafter: Path, base: Path, loading: Mapping[str, Any]) -> None:
        """Lets idle pairs go, the longest unused first, until this one fits as a whole. Raises `RequestError` 503."""
        while self._residents:
            settings = (loading.get("drafter_settings"), loading.get("base_settings"))
            plan = await asyncio.to_thread(plan_pair, drafter, base, *settings)
            if plan.fits and not plan.gives_way:
                return
            idle = [name for name, one in self._residents.items() if not one.n_users]
            if not idle:
                if plan.fits:
                    return
                busy = ", ".join(self._residents)
                text = f"{plan.complaint}; it is in use by {busy}: try again later"
                raise RequestError(text, status=503, code="out_of_memory", retry_after=30)
            await self._free(min(idle, key=lambda name: self._residents[name].last_used))

    async def _free(self, name: str) -> None:
        resident = self._residents.pop(name)
        self._stay(resident)
        await asyncio.to_thread(resident.pair.close)
        _LOG.info("pair %s has left the memory", name)

    def _stay(self, resident: _Resident) -> None:
        if resident.expiry is not None:
            resident.expiry.cancel()
            resident.expiry = None

    def _leave_later(self, name: str, resident: _Resident, *, at_least_s: float = 0.0) -> None:
        """Lets an idle pair go in a while: at once if it has failed."""
        resident.last_used = time.monotonic()
        if resident.n_users:
            return
        has_failed = self._residents.get(name) is not resident
        if resident.keep_alive_s is None and not has_failed:
            return
        wait_s = 0.0 if has_failed else max(at_least_s, resident.keep_alive_s or 0.0)
        loop = asyncio.get_running_loop()
        resident.expiry = loop.call_later(wait_s, lambda: loop.create_task(self._expire(name, resident)))

    async def _expire(self, name: str, resident: _Resident) -> None:
        async with self._memory:
            if resident.n_users:
                return
            if self._residents.get(name) is resident:
                await self._free(name)
            else:
                await asyncio.to_thread(resident.pair.close)

    async def aclose(self) -> None:
        """Frees every pair, and cancels what they still write. Closing twice does nothing."""
        self._is_closed = True
        for loading in self._loads.values():
            loading.cancel.set()
        if self._loads:
            await asyncio.wait([loading.task for loading in self._loads.values()])
        async with self._memory:
            for name in list(self._residents):
                await self._free(name)


def _name_of(pair: NamedPair) -> str:
    """A name for two models that were given without one."""
    return "+".join(
        model.replace("\\", "/").split("/")[-1].removesuffix(".gguf").replace(":", "-")
        for model in (pair.drafter, pair.base)
    )


def _unknown(text: str) -> RequestError:
    return RequestError(text, status=404, code="model_not_found", param="model")
