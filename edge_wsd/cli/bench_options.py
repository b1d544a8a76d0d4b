"""Options of `edge-wsd bench` that say what is measured, and beside which programs."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import click

from edge_wsd.bench.cases import FULL, NEVER, Sweep
from edge_wsd.cli.sections import SectionOption
from edge_wsd.llama.settings import MOST_PARALLEL

F = TypeVar("F", bound=Callable[..., Any])
_LONGEST = 1 << 20
_SECTION = "What is measured"
_MOST_PROPOSED = 128
_WORDS: dict[str, dict[str, int | None]] = {"switches": {"never": NEVER, "auto": None}, "proposals": {"auto": None}}
"""Words for values of a list."""


class NumbersType(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic in newer versions of click
    """Numbers with commas between, and words that stand for some; each once, in their order."""

    name = "N,..."

    def __init__(self, least: int, most: int, words: dict[str, int | None]) -> None:
        self._least, self._most, self._words = least, most, words

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if isinstance(value, tuple) else tuple(dict.fromkeys(map(self._one, str(value).split(","))))

    def _one(self, word: str) -> int | None:
        text = word.strip()
        if text in self._words:
            return self._words[text]
        if text.isascii() and text.isdigit() and len(text) < 10 and self._least <= int(text) <= self._most:
            return int(text)
        others = "".join(f" or {known}" for known in self._words)
        raise click.BadParameter(f"{text!r} is not a number from {self._least} to {self._most}{others}.")


# field of `Sweep` -> flags, least, most, help
_LISTS: dict[str, tuple[tuple[str, ...], int, int, str]] = {
    "prompts": (("-p", "--prompt"), 1, _LONGEST, "Lengths of prompts, in tokens."),
    "answers": (("-n", "--answer"), 2, _LONGEST, "Lengths of answers, in tokens."),
    "switches": (
        ("--switch-at",),
        0,
        _LONGEST,
        "Drafted tokens before the base takes over; never, or auto for its own confidence.",
    ),
    "at_once": (("--at-once",), 1, MOST_PARALLEL, "Answers that are written at the same time."),
    "proposals": (
        ("-k", "--propose"),
        0,
        _MOST_PROPOSED,
        "Tokens proposed in a round behind the switch; 0 for none, auto for as many as pay.",
    ),
}
_PEERS = {
    "llama_bench": "Path of the program: the base alone.",
    "llama_batched_bench": "The base alone, several answers at once.",
    "llama_speculative_simple": "The base with proposals of the drafter.",
    "llama_completion": "The base alone, as text.",
    "llama_server": "The base alone over HTTP, several answers at once.",
}


def sweep_options(function: F) -> F:
    """Adds a list for each field of `Sweep`, `--cross` and `--full`; the command gets `sweep`."""

    @functools.wraps(function)
    def command(*, full: bool, cross: bool, **values: Any) -> Any:
        lists = {name: given for name in _LISTS if (given := values.pop(name)) is not None}
        return function(sweep=replace(FULL if full else Sweep(), cross=cross, **lists), **values)

    decorated: Any = command
    for flag, text in (
        ("--full", f"For lists that are not given: {in_words(FULL)}."),
        ("--cross", "Every value with every other; else the first of each list is kept while another is varied."),
    ):
        decorated = click.option(flag, is_flag=True, cls=SectionOption, section=_SECTION, help=text)(decorated)
    for name, (flags, least, most, text) in reversed(_LISTS.items()):
        kind = NumbersType(least, most, _WORDS.get(name, {}))
        default = _listed(name, getattr(Sweep(), name))
        decorated = click.option(
            *flags,
            name,
            type=kind,
            metavar=kind.name,
            cls=SectionOption,
            section=_SECTION,
            help=f"{text}  [default: {default}]",
        )(decorated)
    return decorated  # type: ignore[no-any-return]


def in_words(sweep: Sweep) -> str:
    """The lists of a sweep as options that make it, without those that are the usual ones."""
    usual = Sweep()
    lists = {name: getattr(sweep, name) for name in _LISTS if getattr(sweep, name) != getattr(usual, name)}
    return " ".join(f"{_LISTS[name][0][0]} {_listed(name, values)}" for name, values in lists.items())


def _listed(name: str, values: tuple[int | None, ...]) -> str:
    words = {number: word for word, number in _WORDS.get(name, {}).items()}
    return ",".join(words.get(value, str(value)) for value in values)


def peer_options(function: F) -> F:
    """Adds an option for the path of each peer; the command gets `peers`, the paths by their names."""

    @functools.wraps(function)
    def command(**values: Any) -> Any:
        paths = {name: path for name in _PEERS if (path := values.pop(name)) is not None}
        return function(peers=paths, **values)

    decorated: Any = command
    for name, text in reversed(_PEERS.items()):
        flag = "--" + name.replace("_", "-")
        decorated = click.option(flag, name, metavar="PATH", cls=SectionOption, section="Peers", help=text)(decorated)
    return decorated  # type: ignore[no-any-return]
