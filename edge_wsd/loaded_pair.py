"""A drafter and a base in the memory of this process, and the engine that writes replies with them."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

from edge_wsd._native import CancelFlag
from edge_wsd.asked import Asked, AskedText, Begun
from edge_wsd.decoding.bridge import Bridge, SameVocabulary, ThroughText
from edge_wsd.decoding.events import Dropped, Reply, Source
from edge_wsd.decoding.experience import Experience
from edge_wsd.decoding.meter import Meter
from edge_wsd.decoding.protocols import Writing
from edge_wsd.engine.engine import LONGEST_QUEUE, Engine, Memories
from edge_wsd.engine.remembered import Remembered
from edge_wsd.engine.stream import Stream
from edge_wsd.errors import BusyError, Cancelled, ClosedError
from edge_wsd.llama import library
from edge_wsd.llama.context import Context
from edge_wsd.llama.heap import give_back
from edge_wsd.llama.model import Model
from edge_wsd.llama.new_context import most_texts
from edge_wsd.llama.settings import AUTO, Overlap
from edge_wsd.llama.tools.measure import simulate
from edge_wsd.llama.vocabulary_verdict import VocabularyVerdict, compare_vocabularies
from edge_wsd.loaded_model import LoadedModel, ModelFacts
from edge_wsd.models.gguf.check import check_gguf
from edge_wsd.models.gguf.shape import shape_of_file
from edge_wsd.models.plan.planner import Plan, plan_pair, require_possible
from edge_wsd.models.probe.trial import Candidate, probe_models
from edge_wsd.pair_settings import PairProgress, PairSettings
from edge_wsd.prompts.choose import base_template as choose_base_template
from edge_wsd.prompts.choose import drafter_template as choose_drafter_template
from edge_wsd.raw_prompts import fit_raw
from edge_wsd.reply import fit, write_reply

T = TypeVar("T")


class LoadedPair:
    """Owns both models and the engine that runs them."""

    def __init__(
        self,
        name: str,
        drafter: LoadedModel,
        base: LoadedModel,
        plan: Plan | None = None,
        *,
        parallel: int = 1,
        longest_queue: int = LONGEST_QUEUE,
        overlap: Overlap = AUTO,
        remembered: Remembered | None = None,
    ) -> None:
        self.name = name
        self.plan = plan
        self.drafter = drafter
        self.base = base
        self._facts = {"drafter": drafter.facts, "base": base.facts}  # which can be told of a closed pair as well
        self.vocabulary: VocabularyVerdict = compare_vocabularies(drafter.model.vocab, base.model.vocab)
        bridge = SameVocabulary if self.vocabulary.same else ThroughText
        self.bridge: Bridge = bridge(drafter.model.vocab, base.model.vocab)
        self.closed = False
        self.parallel = parallel
        self.overlaps = overlap == "on" or (overlap == AUTO and plan is not None and plan.lies_apart)
        self._owned = ExitStack()  # what is freed with it
        self._process = os.getpid()
        self.experience = Experience() if remembered is None else remembered.experience
        """What passes cost, and how proposals fared in all replies."""
        self._users: dict[object, int] = {}  # the threads that ask
        self._lock = threading.RLock()  # a `Condition` takes it in Python, where Ctrl-C can come right behind that
        self._unused = threading.Condition(self._lock)
        self.engine = Engine(
            {"drafter": drafter.context, "base": base.context},
            parallel=parallel,
            longest_queue=longest_queue,
            costs=self.experience.costs,
            on_idle=None if remembered is None else remembered.save,
            cache_bytes={} if plan is None else {"drafter": plan.drafter.cache_bytes, "base": plan.base.cache_bytes},
            overlap=self.overlaps,
        )

    @classmethod
    def load(cls, wanted: PairSettings, progress: PairProgress | None = None) -> LoadedPair:
        """Load two GGUF files, as `Pair.load` says. Frees both if it raises."""
        plan = _probed_plan(wanted, progress)
        with ExitStack() as stack:
            loaded = []
            for role, path, settings, choose, choice in (
                ("drafter", wanted.drafter, plan.drafter.settings, choose_drafter_template, wanted.drafter_template),
                ("base", wanted.base, plan.base.settings, choose_base_template, wanted.base_template),
            ):
                report = (lambda fraction, role=role: progress(role, fraction)) if progress else None
                model = stack.enter_context(Model.load(path, settings, progress=report))
                vocab = model.vocab
                bos, eos = (vocab.text(token) if token is not None else "" for token in (vocab.bos, vocab.eos))
                template = choose(choice, model.chat_template, bos, eos)
                context = stack.enter_context(Context(model, settings, n_sequences=most_texts(model, settings)))
                loaded.append(LoadedModel(model, context, template))
            remembered = Remembered(
                [(Path(wanted.drafter), plan.drafter.settings), (Path(wanted.base), plan.base.settings)]
            )
            pair = cls(
                wanted.name,
                loaded[0],
                loaded[1],
                plan,
                parallel=wanted.parallel,
                longest_queue=wanted.longest_queue,
                overlap=wanted.overlap,
                remembered=remembered,
            )
            pair._owned = stack.pop_all()
            return pair

    @property
    def process_id(self) -> int:
        return self._process

    def answer(self, asked: Asked | AskedText, cancel: CancelFlag) -> Begun:
        """Begin a reply. The prompts are made here, in the caller's thread; the engine does the rest.

        Raises `TemplateError`, `ContextFullError`, `VocabularyError`, and whatever `Engine.submit` raises.
        """
        meter = Meter()

        def unwritten() -> Reply:
            return Reply("", (), (), "cancelled", None, meter.statistics(n_tokens=0, n_draft=0))

        with self.in_use():
            try:
                if isinstance(asked, AskedText):
                    fitted = fit_raw(self, asked)
                else:
                    fitted = fit(self, asked.before, asked.messages, asked.options, cancel, asked.tools)
            except Cancelled:
                return Begun(Stream.over(unwritten()))
            asked_s = time.perf_counter()

            def write(memories: Memories) -> Writing[Reply]:
                meter.begin(asked_s)
                if fitted.n_dropped:
                    yield Dropped(fitted.n_dropped)
                return (yield from write_reply(self, fitted, asked.options, meter, memories))

            return Begun(self.engine.submit(write, unwritten=unwritten), fitted.n_dropped)

    def call(self, work: Callable[[LoadedPair], T]) -> T:
        """Do `work` with the models, which stay in memory until it returns. Raises as `in_use`, and what it raises."""
        with self.in_use():
            return work(self)

    def model(self, source: Source) -> LoadedModel:
        """The drafter or the base."""
        return self.drafter if source == "drafter" else self.base

    def about(self, source: Source) -> ModelFacts:
        return self._facts[source]

    def require_open(self) -> None:
        """Raises `ClosedError` once the pair is closed, `ForkedError` in a process that was forked from its own."""
        if self.closed:
            raise ClosedError(f"the pair {self.name} is closed; load it again")
        for loaded in (self.drafter, self.base):
            loaded.context.require_open()

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keeps the models in memory while a thread asks. Raises as `require_open` does."""
        self.require_open()  # before the lock, which another thread may have held when this process was forked
        me = object()
        try:
            with self._lock:
                self.require_open()
                self._users[me] = threading.get_ident()
            yield
        finally:
            self._users.pop(me, None)
            with self._lock:
                self._unused.notify_all()

    def close(self) -> None:
        """As `Pair.close` says."""
        if self._process != os.getpid():
            self.closed = True
            return
        if threading.get_ident() in self._users.values() or library.holds_lock():
            raise BusyError("a pair cannot be closed while this thread asks it or loads one (in a signal handler?)")
        self.closed = True
        self.engine.close()
        with self._lock:
            while self._users:
                self._unused.wait(timeout=0.25)
            self._owned.close()
        give_back()


def _probed_plan(wanted: PairSettings, progress: PairProgress | None) -> Plan:
    """Where the two models go, once their files were tried in a child process."""
    paths = Path(wanted.drafter), Path(wanted.base)
    drafter_settings, base_settings = wanted.model_settings
    headers = [check_gguf(path) for path in paths]
    shapes = [shape_of_file(path, header) for path, header in zip(paths, headers, strict=True)]
    plan = plan_pair(shapes[0], shapes[1], drafter_settings, base_settings)
    require_possible(plan)
    probe_models(
        [
            Candidate(path, header, planned.settings)
            for path, header, planned in zip(paths, headers, (plan.drafter, plan.base), strict=True)
        ],
        progress=None if progress is None else partial(progress, "probe"),
    )
    plan = plan_pair(shapes[0], shapes[1], drafter_settings, base_settings, measure=simulate)
    require_possible(plan)
    return plan
