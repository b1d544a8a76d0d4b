"""A drafter and a base in memory.

>>> with Pair.load(drafter="drafter.gguf", base="base.gguf") as pair:
...     print(pair.generate("How do I list files by size?").text)
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypedDict, get_args

from edge_wsd import checks
from edge_wsd.decoding.bridge import Bridge, SameVocabulary, ThroughText
from edge_wsd.decoding.events import Reply, Source
from edge_wsd.decoding.experience import Experience
from edge_wsd.decoding.options import OptionChanges, Options, checked_options
from edge_wsd.engine.engine import LONGEST_QUEUE, Engine
from edge_wsd.engine.remembered import Remembered
from edge_wsd.errors import BusyError, ClosedError
from edge_wsd.llama import library
from edge_wsd.llama.context import Context
from edge_wsd.llama.model import Model
from edge_wsd.llama.new_context import most_texts
from edge_wsd.llama.settings import AUTO, ModelSettings, Overlap
from edge_wsd.llama.tools.measure import simulate
from edge_wsd.llama.vocabulary_verdict import VocabularyVerdict, compare_vocabularies
from edge_wsd.loaded_model import LoadedModel
from edge_wsd.models.gguf.check import check_gguf
from edge_wsd.models.gguf.shape import shape_of_file
from edge_wsd.models.plan.planner import Plan, plan_pair, require_possible
from edge_wsd.models.probe.trial import Candidate, probe_models
from edge_wsd.prompts.choose import base_template as choose_base_template
from edge_wsd.prompts.choose import drafter_template as choose_drafter_template
from edge_wsd.prompts.messages import Message
from edge_wsd.session import Session

if TYPE_CHECKING:
    from typing_extensions import Unpack  # only type checkers need it; typing has it from 3.11 on

PairProgress = Callable[[str, float], None]
"""Called with a stage and a fraction from 0 to 1. The stages are "probe", in which a child process tries the files
that were not tried before, "drafter" and "base".
"""


class LoadSettings(TypedDict, total=False):
    """Keyword arguments of `Pair.load`, which `Pair.demo` and `Pair.named` pass on."""

    drafter_settings: ModelSettings | None
    base_settings: ModelSettings | None
    drafter_template: str
    base_template: str
    progress: PairProgress | None
    parallel: int
    longest_queue: int
    workers: Sequence[str]
    overlap: Overlap


class Pair:
    """Owns both models and the engine that runs them. Close it, or use it as a context manager."""

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
        checks.require_choice("overlap", overlap, get_args(Overlap))
        self.name = name
        self.plan = plan
        """Where the two models were put; its `notes` say what had to give way."""
        self.drafter = drafter
        self.base = base
        self.vocabulary: VocabularyVerdict = compare_vocabularies(drafter.model.vocab, base.model.vocab)
        bridge = SameVocabulary if self.vocabulary.same else ThroughText
        self.bridge: Bridge = bridge(drafter.model.vocab, base.model.vocab)
        self.closed = False
        self.options = Options()
        """Used for replies and conversations for which no options are given."""
        self.parallel = parallel
        """How many replies are written at once."""
        self.overlaps = overlap == "on" or (overlap == AUTO and plan is not None and plan.lies_apart)
        """Whether both models compute at the same time."""
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
    def load(  # noqa: PLR0913
        cls,
        drafter: str | Path,
        base: str | Path,
        *,
        drafter_settings: ModelSettings | None = None,
        base_settings: ModelSettings | None = None,
        drafter_template: str = "chat",
        base_template: str = "plain",
        progress: PairProgress | None = None,
        parallel: int = 1,
        longest_queue: int = LONGEST_QUEUE,
        workers: Sequence[str] = (),
        overlap: Overlap = AUTO,
        name: str | None = None,
    ) -> Pair:
        """Load two GGUF files. Frees both if it raises: `ModelFileError`, `ModelLoadError` or `TemplateError`.

        Memory is planned first (`edge_wsd.models.plan.planner`): the plan decides settings that are "auto" or None,
        and a pair that certainly cannot fit is a `PlanError`, unless `memory_check` is off.

        `parallel` replies are written at once, each with room for a context of full length; others wait, and once
        `longest_queue` of them are waiting, one more is a `QueueFullError`.

        `workers`, each the HOST:PORT of an `edge-wsd worker`, take layers of the base (`ModelSettings.workers`). One
        that cannot be reached or fails is a `WorkerError`, here or in the middle of a reply.

        With `overlap` "on" both models compute at the same time, each in a thread of its own; "auto" is "on" where no
        device computes layers of both. The texts are the same.

        A template is "chat" (the file's own), "plain" (the paper's base prompt) or the path of a Jinja file. Each file
        is tried in a child process first, so a file that crashes llama.cpp cannot crash the caller; a frozen
        application sets the program to start with `edge_wsd.child_process.use_program`.
        """
        checks.require_choice("overlap", overlap, get_args(Overlap))  # before anything is loaded
        drafter_settings, base_settings = (
            replace(settings or ModelSettings(), parallel=parallel) for settings in (drafter_settings, base_settings)
        )
        if workers:
            base_settings = replace(base_settings, workers=tuple(workers))
        headers = [check_gguf(Path(path)) for path in (drafter, base)]
        shapes = [shape_of_file(path, header) for path, header in zip((drafter, base), headers, strict=True)]
        plan = plan_pair(shapes[0], shapes[1], drafter_settings, base_settings)
        require_possible(plan)
        probe_models(
            [
                Candidate(Path(path), header, planned.settings)
                for path, header, planned in zip((drafter, base), headers, (plan.drafter, plan.base), strict=True)
            ],
            progress=None if progress is None else partial(progress, "probe"),
        )
        plan = plan_pair(shapes[0], shapes[1], drafter_settings, base_settings, measure=simulate)
        require_possible(plan)
        with ExitStack() as stack:
            loaded = []
            for role, path, settings, choose, choice in (
                ("drafter", drafter, plan.drafter.settings, choose_drafter_template, drafter_template),
                ("base", base, plan.base.settings, choose_base_template, base_template),
            ):
                report = (lambda fraction, role=role: progress(role, fraction)) if progress else None
                model = stack.enter_context(Model.load(path, settings, progress=report))
                vocab = model.vocab
                bos, eos = (vocab.text(token) if token is not None else "" for token in (vocab.bos, vocab.eos))
                template = choose(choice, model.chat_template, bos, eos)
                context = stack.enter_context(Context(model, settings, n_sequences=most_texts(model, settings)))
                loaded.append(LoadedModel(model, context, template))
            name = name or f"{Path(drafter).stem} + {Path(base).stem}"
            remembered = Remembered([(Path(drafter), plan.drafter.settings), (Path(base), plan.base.settings)])
            pair = cls(
                name,
                loaded[0],
                loaded[1],
                plan,
                parallel=parallel,
                longest_queue=longest_queue,
                overlap=overlap,
                remembered=remembered,
            )
            pair._owned = stack.pop_all()
            return pair

    @classmethod
    def demo(cls, *, other_vocabulary: bool = False, **settings: Unpack[LoadSettings]) -> Pair:
        """The embedded pair: a demonstration that answers terminal questions, not an assistant."""
        from edge_wsd.demo import files

        drafter = files.other_drafter_path() if other_vocabulary else files.drafter_path()
        name = "demo-other" if other_vocabulary else "demo"
        return cls.load(drafter, files.base_path(), name=name, **settings)

    @classmethod
    def named(cls, name: str, **settings: Unpack[LoadSettings]) -> Pair:
        """A pair from the user's file or a built-in one, with its templates and options. `settings` as for `load`.

        Nothing is downloaded: raises a `StoreError` that says what to pull, or `PairsFileError` for an unknown name.
        """
        from edge_wsd.models.pairs.known import find_pair

        named = find_pair(name)
        drafter, base = named.find_models()
        given: dict[str, Any] = {**named.templates, **settings}
        pair = cls.load(drafter, base, name=name, **given)
        pair.options = Options(**named.options)
        return pair

    def generate(
        self,
        prompt: str | Sequence[Message] | Sequence[Mapping[str, Any]],
        options: Options | None = None,
        **changes: Unpack[OptionChanges],
    ) -> Reply:
        """One whole reply to a question or a conversation. `changes` are fields of `Options`."""
        options = checked_options(options, self.options).with_changes(**changes)
        if isinstance(prompt, str):
            return self.session(options=options).ask(prompt)
        return self.session(options=options, messages=prompt).ask(None)

    def session(
        self,
        system: str | None = None,
        options: Options | None = None,
        messages: Sequence[Message] | Sequence[Mapping[str, Any]] = (),
    ) -> Session:
        """A new conversation. What two turns have in common is decoded once, in both models."""
        return Session(self, system=system, options=checked_options(options, self.options), messages=messages)

    def model(self, source: Source) -> LoadedModel:
        """The drafter or the base."""
        return self.drafter if source == "drafter" else self.base

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
        """Cancel what is being written, and free both contexts, then both models. Closing twice does nothing.

        In a forked child there is nothing to free. Raises `BusyError` in a signal handler that has interrupted this
        thread while it asks the pair or loads another one: it would wait for this thread, which cannot go on.
        """
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

    def __enter__(self) -> Pair:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()
