"""Which two models a command works with (`--pair NAME`, or `--drafter FILE --base FILE`) and its loading."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edge_wsd.cli.interruptible import call
from edge_wsd.cli.options import ROLES, SectionOption, model_options
from edge_wsd.cli.terminal import is_terminal, neutralise
from edge_wsd.errors import Cancelled, EdgeWsdError
from edge_wsd.llama.settings import ModelSettings

if TYPE_CHECKING:
    from edge_wsd.pair import Pair

NAMED_PAIRS = {
    "demo": "the embedded demonstration",
    "demo-other": "the same with a drafter of another vocabulary",
}
DEFAULT_PAIR = "demo"
DEMO_NOTE = "demo pair: a demonstration, not an assistant"

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class PairChoice:
    """Two models that the user asked for."""

    name: str | None
    drafter: str | None
    base: str | None
    loading: dict[str, Any]
    """Settings and templates, as `Pair.load` and `Pair.demo` take them."""

    @property
    def is_demo(self) -> bool:
        return self.drafter is None

    def open(self) -> Pair:
        """Loads both models, with a progress line if it takes a while. Ctrl-C stops it."""
        from edge_wsd.pair import Pair

        stopped: list[bool] = []
        line = _ProgressLine()

        def progress(role: str, share: float) -> None:
            line.show(role, share)
            if stopped:
                raise Cancelled("loading was stopped")

        def load() -> Pair:
            if self.drafter is not None and self.base is not None:
                return Pair.load(self.drafter, self.base, progress=progress, **self.loading)
            return Pair.demo(other_vocabulary=self.name == "demo-other", progress=progress, **self.loading)

        try:
            return call(load, cancel=lambda: stopped.append(True))
        finally:
            line.erase()

    def warn(self, pair: Pair) -> None:
        """A line on stderr for each setting that the user will not get, or will not be glad of."""
        for warning in self.warnings(pair):
            click.echo(f"warning: {warning}", err=True)

    def warnings(self, pair: Pair) -> list[str]:
        """What `warn` says."""
        from edge_wsd.llama.library import supports_offload

        found = []
        settings = {role: self.loading[f"{role}_settings"] for role in ROLES}
        if any(one.gpu_layers > 0 for one in settings.values()) and not supports_offload():
            found.append("--gpu-layers does nothing: llama.cpp finds no GPU; `edge-wsd doctor` tells what to install")
        for role, loaded in zip(ROLES, (pair.drafter, pair.base), strict=True):
            wanted, trained = settings[role].context_length, loaded.model.n_ctx_train
            if wanted is not None and 0 < trained < wanted:
                found.append(f"--ctx {wanted}: the {role} was trained with {trained} tokens and may fail beyond them")
        return found


class _ProgressLine:
    """`loading the base  42 %` on a terminal's stderr, gone once both are loaded."""

    def __init__(self) -> None:
        self._wanted = is_terminal(sys.stderr)
        self._shown = ""

    def show(self, role: str, share: float) -> None:
        line = f"loading the {role} {share:4.0%}"
        if self._wanted and line != self._shown:
            self._shown = line
            click.echo(f"\r{line}\x1b[K", err=True, nl=False)

    def erase(self) -> None:
        if self._shown:
            click.echo("\r\x1b[K", err=True, nl=False)


def pair_options(function: F) -> F:
    """Adds the options that choose two models and their memory; the command gets `pair_choice`."""

    @model_options
    @functools.wraps(function)
    def command(
        *,
        pair: str | None,
        drafter: str | None,
        base: str | None,
        drafter_template: str | None,
        base_template: str | None,
        drafter_settings: ModelSettings,
        base_settings: ModelSettings,
        **values: Any,
    ) -> Any:
        loading: dict[str, Any] = {"drafter_settings": drafter_settings, "base_settings": base_settings}
        if drafter_template is not None:
            loading["drafter_template"] = drafter_template
        if base_template is not None:
            loading["base_template"] = base_template
        return function(pair_choice=choose(pair, drafter, base, loading), **values)

    decorated: Any = command
    for flag, metavar, text in reversed(
        (
            ("--pair", "NAME", f"A pair by name: {', '.join(NAMED_PAIRS)}.  [default: {DEFAULT_PAIR}]"),
            ("--drafter", "FILE", "The small aligned model that begins (GGUF)."),
            ("--base", "FILE", "The large base model that finishes (GGUF)."),
            (
                "--drafter-template",
                "FILE|plain|chat",
                "The drafter's prompt: its own chat template, or a Jinja file.  [default: chat]",
            ),
            ("--base-template", "FILE|plain|chat", "The base's prompt.  [default: plain]"),
        )
    ):
        option = click.option(flag, metavar=metavar, help=text, cls=SectionOption, section="The models")
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]


def choose(name: str | None, drafter: str | None, base: str | None, loading: dict[str, Any]) -> PairChoice:
    """Checks that the options name one pair, else `UsageError`; an unknown name is an `EdgeWsdError`."""
    if (drafter is None) != (base is None):
        missing = "--base" if base is None else "--drafter"
        raise click.UsageError(f"{missing} FILE is missing: a pair is --drafter FILE and --base FILE")
    if drafter is not None:
        if name is not None:
            raise click.UsageError("give either --pair NAME or --drafter FILE and --base FILE, not both")
        return PairChoice(None, drafter, base, loading)
    name = name or DEFAULT_PAIR
    if name not in NAMED_PAIRS:
        known = ", ".join(NAMED_PAIRS)
        raise EdgeWsdError(
            f"there is no pair named {neutralise(name)!r}; known pairs: {known}; "
            "two files of your own are given as --drafter FILE --base FILE"
        )
    return PairChoice(name, None, None, loading)
