"""A drafter and a base in memory.

>>> with Pair.load(drafter="drafter.gguf", base="base.gguf") as pair:
...     print(pair.generate("How do I list files by size?").text)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

from edge_wsd import checks
from edge_wsd._native import CancelFlag
from edge_wsd.asked import Asked, AskedText, Begun, RawPrompt
from edge_wsd.decoding.events import SOURCES, Reply, Source
from edge_wsd.decoding.options import OptionChanges, Options, checked_options
from edge_wsd.engine.engine import LONGEST_QUEUE
from edge_wsd.engine.stream import Stream
from edge_wsd.errors import Cancelled, OptionError
from edge_wsd.isolation.pair_process import PairProcess
from edge_wsd.llama.settings import AUTO, ModelSettings, Overlap
from edge_wsd.llama.vocabulary_verdict import VocabularyVerdict
from edge_wsd.loaded_model import LoadedModel, ModelFacts
from edge_wsd.loaded_pair import LoadedPair
from edge_wsd.models.plan.planner import Plan
from edge_wsd.pair_settings import PairProgress, PairSettings
from edge_wsd.prompts.messages import Message
from edge_wsd.prompts.tools import Tool
from edge_wsd.session import Session

if TYPE_CHECKING:
    from typing_extensions import Unpack  # only type checkers need it; typing has it from 3.11 on

T = TypeVar("T")


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
    isolate: bool
    cancel: CancelFlag | None


class Pair:
    """Owns both models and the engine that runs them. Close it, or use it as a context manager."""

    def __init__(self, home: LoadedPair | PairProcess) -> None:
        """`home` is where the models live."""
        self.name = home.name
        self.options = Options()
        """Used for replies and conversations for which no options are given."""
        self._home = home

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
        isolate: bool = False,
        cancel: CancelFlag | None = None,
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

        With `isolate` the models live in a process of their own. A crash of native code ends that process alone: what
        is being written raises `PairDiedError`, and the next question loads the models into a new one, with `progress`
        in another thread.
        `drafter`, `base` and `loaded` cannot be reached then; what they are needed for most is in `call`.

        `cancel` ends loading from another thread, which raises `Cancelled`: with the next call of `progress`, and with
        `isolate` at once, whatever the process is doing.

        A template is "chat" (the file's own), "plain" (the paper's base prompt) or the path of a Jinja file. Each file
        is tried in a child process first, so a file that crashes llama.cpp cannot crash the caller; a frozen
        application sets the program to start with `edge_wsd.child_process.use_program`.
        """
        settings = PairSettings(
            name or f"{Path(drafter).stem} + {Path(base).stem}",
            str(drafter),
            str(base),
            drafter_settings or ModelSettings(),
            base_settings or ModelSettings(),
            drafter_template,
            base_template,
            parallel,
            longest_queue,
            tuple(workers),
            overlap,
        )
        if isolate:
            return cls(PairProcess(settings, progress, cancel))
        return cls(LoadedPair.load(settings, progress if cancel is None else _until(cancel, progress)))

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
        tools: Sequence[Tool] | Sequence[Mapping[str, Any]] = (),
    ) -> Session:
        """A new conversation. What two turns have in common is decoded once, in both models."""
        options = checked_options(options, self.options)
        return Session(self, system=system, options=options, messages=messages, tools=tools)

    def complete(
        self,
        prompt: RawPrompt,
        options: Options | None = None,
        *,
        score_prompt: bool = False,
        cancel: CancelFlag | None = None,
        **changes: Unpack[OptionChanges],
    ) -> Stream:
        """Write on from a text as it stands: both models get it without a template, or one alone (`mode`).

        Token ids are those of the model that finishes the reply. With `score_prompt`, `Reply.prompt` holds the
        prompt's tokens with their log-probabilities. `cancel` is as in `answer`. Raises as `LoadedPair.answer` does.
        """
        options = checked_options(options, self.options).with_changes(**changes)
        return self.answer(AskedText(prompt, options, scores_prompt=score_prompt), cancel).stream

    def score(
        self,
        prompt: RawPrompt,
        source: Source = "base",
        *,
        top_logprobs: int = 0,
        special: bool = False,
        cancel: CancelFlag | None = None,
    ) -> Stream:
        """What one model thinks of a text: the result's `prompt` holds each token with its log-probability, and with
        `top_logprobs` the likeliest tokens in its place. Nothing is written. Raises as `complete` does.
        """
        checks.require_choice("source", source, SOURCES)
        options = Options(mode=source, top_logprobs=top_logprobs, special=special)
        return self.answer(AskedText(prompt, options, scores_prompt=True, writes=False), cancel).stream

    def answer(self, asked: Asked | AskedText, cancel: CancelFlag | None = None) -> Begun:
        """What a `Session` does with a conversation: begin a reply to it. `cancel` ends its preparation early.

        An isolated pair whose process does not react to that for some seconds is started again: `PairDiedError`.
        """
        return self._home.answer(asked, cancel or CancelFlag())

    def call(self, work: Callable[[LoadedPair], T], cancel: CancelFlag | None = None) -> T:
        """What `work` finds out with the models, wherever they live: a question of `edge_wsd.lookups`.

        Raises what that raises, and as `answer` does. Not isolated, a pair takes any function of its `loaded`; it
        stays in memory until that returns.
        """
        if isinstance(self._home, PairProcess):
            return self._home.call(work, cancel or CancelFlag())
        return self._home.call(work)

    @property
    def plan(self) -> Plan | None:
        """Where the two models were put; its `notes` say what had to give way."""
        return self._home.plan

    @property
    def vocabulary(self) -> VocabularyVerdict:
        """Whether the models share their tokens."""
        return self._home.vocabulary

    @property
    def parallel(self) -> int:
        """How many replies are written at once."""
        return self._home.parallel

    @property
    def overlaps(self) -> bool:
        """Whether both models compute at the same time."""
        return self._home.overlaps

    @property
    def closed(self) -> bool:
        return self._home.closed

    def about(self, source: Source) -> ModelFacts:
        """The file, size and context of the drafter or the base."""
        return self._home.about(source)

    @property
    def process_id(self) -> int:
        """The process that the models live in: this one, or with `isolate` another, which may change."""
        return self._home.process_id

    @property
    def is_isolated(self) -> bool:
        return isinstance(self._home, PairProcess)

    @property
    def loaded(self) -> LoadedPair:
        """The models in memory. Raises `OptionError` for an isolated pair, whose models are in no memory of ours."""
        if isinstance(self._home, PairProcess):
            raise OptionError(
                "the models of an isolated pair live in a process of their own and cannot be reached; load it without "
                "isolate (--isolate) for this"
            )
        return self._home

    @property
    def drafter(self) -> LoadedModel:
        return self.loaded.drafter

    @property
    def base(self) -> LoadedModel:
        return self.loaded.base

    def model(self, source: Source) -> LoadedModel:
        """The drafter or the base."""
        return self.loaded.model(source)

    def require_open(self) -> None:
        """Raises `ClosedError` once the pair is closed, `ForkedError` in a process that was forked from its own."""
        self._home.require_open()

    def close(self) -> None:
        """Cancel what is being written, and free both contexts, then both models. Closing twice does nothing.

        In a forked child there is nothing to free. Raises `BusyError` in a signal handler that has interrupted this
        thread while it asks the pair or loads another one: it would wait for this thread, which cannot go on.
        """
        self._home.close()

    def __enter__(self) -> Pair:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()


def _until(cancel: CancelFlag, progress: PairProgress | None) -> PairProgress:
    """`progress` that raises `Cancelled` once `cancel` is set."""

    def told(stage: str, fraction: float) -> None:
        if cancel.is_set:
            raise Cancelled("loading was cancelled")
        if progress is not None:
            progress(stage, fraction)

    return told
