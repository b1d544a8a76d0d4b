"""Where the models of an isolated pair live: a process of their own, started again when it is asked after its end.

>>> with Pair.load("drafter.gguf", "base.gguf", isolate=True) as pair: ...
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TypeVar, cast

from edge_wsd._native import CancelFlag
from edge_wsd.asked import Asked, AskedText, Begun
from edge_wsd.decoding.events import Reply, Source, Statistics
from edge_wsd.engine.stream import Stream
from edge_wsd.errors import Cancelled, ClosedError, ForkedError, OptionError, PairDiedError
from edge_wsd.isolation.messages import ModelsLoaded, PairCall
from edge_wsd.isolation.model_process import ModelProcess
from edge_wsd.isolation.reload import Reload
from edge_wsd.llama.vocabulary_verdict import VocabularyVerdict
from edge_wsd.loaded_model import ModelFacts
from edge_wsd.loaded_pair import LoadedPair
from edge_wsd.models.plan.planner import Plan
from edge_wsd.pair_settings import PairProgress, PairSettings

T = TypeVar("T")


class PairProcess:
    """Does for a `Pair` what `LoadedPair` does, over there."""

    def __init__(
        self, settings: PairSettings, progress: PairProgress | None = None, cancel: CancelFlag | None = None
    ) -> None:
        """Starts the process and loads the models; `cancel` and errors are as for `Pair.load`."""
        self.name = settings.name
        self.parallel = settings.parallel
        self.closed = False
        self._settings = settings
        self._progress = progress
        self._owner = os.getpid()
        self._starting = threading.RLock()
        self._process: ModelProcess | None = None
        """The one that was started last, which may be loading still."""
        self._reload: Reload | None = None
        self._ready: ModelProcess
        self._about: ModelsLoaded
        self._ready, self._about = self._started(cancel or CancelFlag(), at_once=True)

    @property
    def plan(self) -> Plan | None:
        return self._about.plan

    @property
    def vocabulary(self) -> VocabularyVerdict:
        return self._about.vocabulary

    @property
    def overlaps(self) -> bool:
        return self._about.overlaps

    @property
    def process_id(self) -> int:
        """Of the process that was started last."""
        assert self._process is not None
        return self._process.process_id

    def about(self, source: Source) -> ModelFacts:
        return self._about.facts[source]

    def answer(self, asked: Asked | AskedText, cancel: CancelFlag) -> Begun:
        """Begin a reply, in a new process if the last one has ended; its models are loaded first."""
        try:
            return self._asked(lambda process: process.answer(asked, cancel), cancel)
        except Cancelled:
            return Begun(Stream.over(Reply("", (), (), "cancelled", None, Statistics())))

    def call(self, work: Callable[[LoadedPair], T], cancel: CancelFlag) -> T:
        """What is found out over there. Raises `OptionError` for what cannot be sent there, and `Cancelled` while
        another caller loads the models.
        """
        if not isinstance(work, PairCall):
            raise OptionError(
                f"{work!r:.100} cannot be called with the models of an isolated pair; see edge_wsd.lookups for what can"
            )
        return self._asked(lambda process: cast(T, process.call(work, cancel)), cancel)

    def _asked(self, ask: Callable[[ModelProcess], T], cancel: CancelFlag) -> T:
        self.require_open()
        before, process = self._ready, self._running(cancel)
        try:
            return ask(process)
        except PairDiedError:
            if process is not before or cancel.is_set:
                raise
        return ask(self._running(cancel))  # it had died before it was asked, most likely

    def require_open(self) -> None:
        if self.closed:
            raise ClosedError(f"the pair {self.name} is closed; load it again")
        if self._owner != os.getpid():
            raise ForkedError(f"the pair {self.name} belongs to the process that this one was forked from")

    def close(self) -> None:
        """As `Pair.close` says. Takes no lock: a signal handler may call it."""
        self.closed = True
        if self._process is not None and self._owner == os.getpid():
            self._process.close()

    def __del__(self) -> None:
        process = getattr(self, "_process", None)
        if process is not None and not self.closed and self._owner == os.getpid():
            process.leave()

    def _running(self, cancel: CancelFlag) -> ModelProcess:
        """The process, started again if it has ended; one who asks begins that, and all wait for it."""
        while True:
            with self._starting:
                if self._ready.is_alive:
                    return self._ready
                if begins := self._reload is None or self._reload.is_over:
                    self._reload = Reload(self._load_again)
                reload = self._reload
            try:
                reload.wait(cancel)
            except PairDiedError:
                if begins:
                    raise
            else:
                return self._ready

    def _load_again(self, is_doubted: CancelFlag) -> None:
        self._ready, self._about = self._started(is_doubted, at_once=False)

    def _started(self, cancel: CancelFlag, *, at_once: bool) -> tuple[ModelProcess, ModelsLoaded]:
        process = self._process = ModelProcess()
        try:
            loaded = process.load(self._settings, self._progress, cancel, at_once=at_once)
            self.require_open()  # closed in the meantime
        except BaseException:
            process.kill()
            raise
        return process, loaded
