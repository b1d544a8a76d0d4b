"""Which two models a command works with (`--pair NAME`, or `--drafter MODEL --base MODEL`) and its loading."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import click
from click.shell_completion import CompletionItem

from edge_wsd.cli.first_use import Consent, models_of
from edge_wsd.cli.options import GIVEN, model_options, require_use
from edge_wsd.cli.sections import SectionOption
from edge_wsd.cli.ui.interruptible import call
from edge_wsd.cli.ui.rows import tell
from edge_wsd.cli.ui.waiting import waiting_for
from edge_wsd.decoding.events import SOURCES
from edge_wsd.decoding.options import Options
from edge_wsd.demo.examples import DEMO_NOTE, DEMO_WARNING, EXAMPLES
from edge_wsd.errors import Cancelled, EdgeWsdError
from edge_wsd.llama.settings import ALL_LAYERS, AUTO, ModelSettings, Overlap
from edge_wsd.models.pairs.built_in import DEMO_PAIRS
from edge_wsd.models.pairs.known import FIRST_PAIR, default_name, find_pair, known_pairs
from edge_wsd.models.pairs.named_pair import NamedPair

if TYPE_CHECKING:
    from edge_wsd.pair import Pair

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class PairChoice:
    """Two models that the user asked for. A pair of two files that has no name is named ""."""

    pair: NamedPair
    loading: dict[str, Any]
    """Settings and templates, as `Pair.load` takes them."""
    consent: Consent = Consent.NONE
    """Whether models that are not in the store may be pulled."""

    @classmethod
    def of(cls, pair: NamedPair, loading: dict[str, Any], consent: Consent = Consent.NONE) -> PairChoice:
        """The pair's templates, where `loading` has none."""
        return cls(pair, {**pair.templates, **loading}, consent)

    def instead(self, pair: NamedPair) -> PairChoice:
        """Another pair with the same settings and its own templates."""
        settings = {key: value for key, value in self.loading.items() if not key.endswith("_template")}
        return PairChoice.of(pair, settings, self.consent)

    def pull_missing(self) -> None:
        """Pulls what is not in the store, if the user consents; raises `StoreError` otherwise."""
        models_of(self.pair, self.consent)

    @property
    def is_demo(self) -> bool:
        return self.pair.is_built_in and self.pair.name in DEMO_PAIRS

    @property
    def defaults(self) -> Options:
        """What an option that is not given has with this pair."""
        return Options(**self.pair.options)

    @property
    def examples(self) -> tuple[str, ...]:
        """Questions to begin with, where those are known."""
        return EXAMPLES if self.is_demo else ()

    @property
    def title(self) -> str:
        """The pair in one line, for a person."""
        drafter, base = (Path(model).name for model in (self.pair.drafter, self.pair.base))
        name = f"{self.pair.name}: " if self.pair.name else ""
        return f"{name}{drafter} begins, {base} finishes"

    def open(self, *, quiet: bool = False) -> Pair:
        """Loads both models, and tells what it is at if it takes a while and is not `quiet`. Ctrl-C stops it.

        Models that are not in the store are pulled first, if the user consents.
        """
        from edge_wsd.llama.kernels import require_sound

        drafter, base = models_of(self.pair, self.consent)
        require_sound()
        from edge_wsd.pair import Pair

        stopped: list[bool] = []
        with waiting_for("looking at the models", quiet=quiet) as line:

            def progress(stage: str, share: float) -> None:
                probes = "trying the model files in a process of their own"
                line.go_on(probes if stage == "probe" else f"loading the {stage} {share:4.0%}")
                if stopped:
                    raise Cancelled("loading was stopped")

            def load() -> Pair:
                pair = Pair.load(drafter, base, progress=progress, name=self.pair.name or None, **self.loading)
                pair.options = self.defaults
                return pair

            return call(load, cancel=lambda: stopped.append(True), waiting=line.tick)

    def warn(self, pair: Pair) -> None:
        """A line on stderr for each setting that the user will not get, or will not be glad of."""
        for warning in self.warnings(pair):
            tell(f"warning: {warning}")

    def warnings(self, pair: Pair) -> list[str]:
        """What `warn` says."""
        found = []
        settings = {role: self.loading[f"{role}_settings"] for role in SOURCES}
        asked = {
            "--gpu-layers": any(one.gpu_layers not in (AUTO, ALL_LAYERS, 0) for one in settings.values()),
            "--main-gpu": any(one.main_gpu is not None for one in settings.values()),
        }
        for flag in (flag for flag, is_asked in asked.items() if is_asked):
            if not _has_gpu() and not any(one.workers for one in settings.values()):
                found.append(f"{flag} does nothing: llama.cpp finds no GPU; `edge-wsd doctor` tells what to install")
        for role in SOURCES:
            wanted, trained = settings[role].context_length, pair.about(role).n_ctx_train
            if wanted is not None and 0 < trained < wanted:
                found.append(beyond_training(role, wanted, trained))
        return found + list(pair.plan.notes if pair.plan else ())


def demo_remarks() -> list[str]:
    """What a person should know who talks to the demo pair, and what can be asked."""
    questions = (f"  {question}" for question in EXAMPLES[:3])
    return [DEMO_NOTE, "It answers questions about the command line, such as:", *questions, DEMO_WARNING]


def beyond_training(role: str, n_ctx: int, trained: int) -> str:
    """What to say of a context that is longer than the model's texts were."""
    return f"--ctx {n_ctx}: the {role} was trained with {trained} tokens and may fail beyond them"


def _has_gpu() -> bool:
    from edge_wsd.llama.library import supports_offload

    return supports_offload()


def pair_options(function: F, unnamed: str | None = None, *, may_go_on: bool = False) -> F:
    """Adds the options that choose two models and their memory; the command gets `pair_choice`.

    `unnamed` is the pair that is meant where none is named; None means the user's default. A command that `may_go_on`
    with what was kept of a conversation asks `require_use` itself, of the options that come of it.
    """

    @model_options
    @functools.wraps(function)
    def command(
        *,
        pair: str | None,
        drafter: str | None,
        base: str | None,
        drafter_template: str | None,
        base_template: str | None,
        overlap: Overlap,
        isolate: bool,
        yes: bool,
        drafter_settings: ModelSettings,
        base_settings: ModelSettings,
        **values: Any,
    ) -> Any:
        loading: dict[str, Any] = {
            "drafter_settings": drafter_settings,
            "base_settings": base_settings,
            "overlap": overlap,
            "isolate": isolate,
        }
        for key, template in (("drafter_template", drafter_template), ("base_template", base_template)):
            if template is not None:
                loading[key] = template
        if "parallel" in values:
            loading["parallel"] = values.pop("parallel")
        for_programs = values.get("as_object") or values.get("as_stream")
        consent = Consent.GIVEN if yes else Consent.NONE if for_programs else Consent.ASK
        choice = PairChoice.of(choose_pair(pair, drafter, base, unnamed), loading, consent)
        if "options" in values:
            values["options"] = _with_defaults_of(choice.pair, values["options"])
            if not may_go_on:
                require_use(values["options"])
        return function(pair_choice=choice, **values)

    default = unnamed or f"that of `edge-wsd pairs default`, else {FIRST_PAIR}"
    return _naming_options(command, default)  # type: ignore[no-any-return]


def overlap_option(function: F) -> F:
    """Adds `--overlap`."""
    return click.option(
        "--overlap",
        type=click.Choice(get_args(Overlap)),
        default=AUTO,
        cls=SectionOption,
        section="The models",
        help=f"Let both models compute at the same time; auto: where they lie on different devices.  [default: {AUTO}]",
    )(function)


def _naming_options(command: Any, default: str) -> Any:
    """Adds the options of `pair_options` that name models; `default` is the pair where none is named."""
    decorated = click.option(
        "-y", "--yes", is_flag=True, cls=SectionOption, section="The models", help="Pull missing models without asking."
    )(command)
    decorated = click.option(
        "--isolate/--no-isolate",
        default=False,
        cls=SectionOption,
        section="The models",
        help="Keep the models in a process of their own: if it crashes, the next question starts another one.",
    )(decorated)
    decorated = template_options(overlap_option(decorated))
    for flag, metavar, text in (
        ("--base", "MODEL", "The large base model that finishes, given the same way."),
        ("--drafter", "MODEL", "The small aligned model that begins: a GGUF file, or REPO:TYPE."),
        ("--pair", "NAME", f"A pair by name; `edge-wsd pairs` lists them.  [default: {default}]"),
    ):
        complete = complete_pair if flag == "--pair" else complete_model
        option = click.option(
            flag, metavar=metavar, help=text, cls=SectionOption, section="The models", shell_complete=complete
        )
        decorated = option(decorated)
    return decorated


def template_options(function: F) -> F:
    """Adds `--drafter-template` and `--base-template`."""
    decorated: Any = function
    for role, text in (
        ("base", "The base's prompt.  [default: the pair's, else plain]"),
        ("drafter", "The drafter's prompt: its own chat template, or a Jinja file.  [default: the pair's, else chat]"),
    ):
        decorated = click.option(
            f"--{role}-template", metavar="FILE|plain|chat", help=text, cls=SectionOption, section="The models"
        )(decorated)
    return decorated  # type: ignore[no-any-return]


def choose_pair(name: str | None, drafter: str | None, base: str | None, unnamed: str | None = None) -> NamedPair:
    """The one pair that the options name, else `UsageError`; `unnamed` or the default pair if they name none.

    An unknown name is a `PairsFileError`.
    """
    if (drafter is None) != (base is None):
        missing = "--base" if base is None else "--drafter"
        raise click.UsageError(f"{missing} MODEL is missing: a pair is --drafter MODEL and --base MODEL")
    if drafter is not None and base is not None:
        if name is not None:
            raise click.UsageError("give either --pair NAME or --drafter MODEL and --base MODEL, not both")
        return NamedPair("", drafter, base)
    return find_pair(name if name is not None else unnamed or default_name())


def named_or_in_folder(name: str) -> NamedPair:
    """The pair of this name; or, of no name, the one in a folder with drafter.gguf and base.gguf in it."""
    folder = Path(name)
    if (folder / "drafter.gguf").is_file():
        return NamedPair("", str(folder / "drafter.gguf"), str(folder / "base.gguf"))
    return find_pair(name)


def _with_defaults_of(pair: NamedPair, options: Options) -> Options:
    """The options, of which those that were not given are the pair's."""
    given = click.get_current_context().meta.get(GIVEN, {})
    return options.with_changes(**{key: value for key, value in pair.options.items() if key not in given})


def complete_pair(_ctx: click.Context, _param: click.Parameter, beginning: str) -> list[CompletionItem]:
    """Names of pairs, for a shell."""
    from edge_wsd.models.pairs.built_in import BUILT_IN_PAIRS

    try:
        pairs = known_pairs()
    except EdgeWsdError:  # the file has a mistake, which is told when the command runs
        pairs = BUILT_IN_PAIRS
    return [CompletionItem(name, help=pair.about or None) for name, pair in pairs.items() if name.startswith(beginning)]


def complete_model(_ctx: click.Context, _param: click.Parameter, beginning: str) -> list[CompletionItem]:
    """Models of the store and files, for a shell."""
    from edge_wsd.models.store.local import Store

    try:
        names = [model.name for model in Store().models() if model.name.startswith(beginning)]
    except EdgeWsdError:
        names = []
    return [*map(CompletionItem, names), CompletionItem(beginning, type="file")]
