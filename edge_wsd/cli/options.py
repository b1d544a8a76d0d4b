"""The command line's options, made from the dataclasses that own the defaults: `Options` and `ModelSettings`.

>>> @click.command()
... @reply_options
... def command(options: Options) -> None: ...
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import click

from edge_wsd.cli.option_types import BiasType, LayersType, TextOrFile, WorkersType
from edge_wsd.cli.sections import SectionOption
from edge_wsd.decoding.events import SOURCES
from edge_wsd.decoding.options import OF_ONE_RULE, Options
from edge_wsd.errors import OptionError
from edge_wsd.llama.settings import DEFAULT_CACHE_RAM, DEFAULT_CONTEXT_LENGTH, MOST_PARALLEL, ModelSettings

Flags = Mapping[str, tuple[str, str]]
F = TypeVar("F", bound=Callable[..., Any])

# field of `Options` -> flag, help. The default in the help is the field's own.
REPLY_FLAGS: dict[str, tuple[str, str]] = {
    "mode": ("--mode", "Who writes: both (wsd), or one model alone."),
    "max_tokens": ("--max-tokens", "Maximum length of the answer, in tokens."),
    "rule": ("--rule", "When the base takes over: once it is confident (window), word by word (nudge), or never."),
    "threshold": ("--threshold", "Confidence at which the base takes over, 0 to 1."),
    "window": ("--window", "How many drafted tokens the confidence is averaged over."),
    "ignore_repeated": (
        "--ignore-repeated",
        "Leave drafted tokens that repeat the question or the draft out of the confidence.",
    ),
    "nudge_below": ("--nudge-below", "With --rule nudge: the drafter writes where the base is less sure than this."),
    "max_draft": ("--max-draft", "Maximum number of tokens the drafter writes."),
    "switch_at": ("--switch-at", "Force the switch after N drafted tokens."),
    "chunk": ("--chunk", "Tokens drafted per round until the switch; affects speed only."),
    "speculation": (
        "--speculation",
        "Keep drafting after the switch. Changes the speed, and the text only where rounding decides.",
    ),
    "proposers": (
        "--proposers",
        "Who guesses the next tokens: the drafter, a lookup in prompt and answer (ngram), or both.",
    ),
    "propose": ("--propose", "Tokens drafted per round after the switch; affects speed only."),
    "stop": ("--stop", "Also stop at this text. May be given several times."),
    "stop_loops": ("--stop-loops", "Stop an answer that repeats itself over and over."),
    "top_logprobs": ("--top-logprobs", "In JSON: also the N likeliest tokens at each position, at most 20."),
    "special": ("--special", "Turn text like <|im_end|> in messages into control tokens."),
    "temperature": ("--temperature", "0 is greedy, 1 is the models' own distribution."),
    "top_k": ("--top-k", "Sample from the N likeliest tokens; 0 for all."),
    "top_p": ("--top-p", "Sample from the likeliest tokens that together reach this probability."),
    "min_p": ("--min-p", "Leave out tokens below this fraction of the likeliest token's probability."),
    "seed": ("--seed", "Same seed, same answer."),
    "repeat_penalty": ("--repeat-penalty", "Make tokens that already occurred less likely; 1 is off."),
    "repeat_last_n": (
        "--repeat-last-n",
        "How many tokens of prompt and answer the penalties look back on; -1 for all.",
    ),
    "presence_penalty": ("--presence-penalty", "Subtracted from the logits of tokens that already occurred."),
    "frequency_penalty": ("--frequency-penalty", "Subtracted once for each time a token occurred."),
    "grammar": ("--grammar", "A GBNF grammar that the answer must follow: its text, or @FILE."),
    "json_schema": ("--json-schema", "A JSON schema that the answer must follow: its text, or @FILE."),
    "grammar_from": ("--grammar-from", "Whether a grammar applies from the switch on, or to the draft as well."),
    "logit_bias": (
        "--logit-bias",
        "Add to the logit of a token, given by id or text; -inf forbids it. May be given several times.",
    ),
}
_SAMPLING = (
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "seed",
    "repeat_penalty",
    "repeat_last_n",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "grammar",
    "json_schema",
    "grammar_from",
)

# field of `ModelSettings` -> flag, help
MODEL_FLAGS: dict[str, tuple[str, str]] = {
    "gpu_layers": ("--gpu-layers", "Layers on the GPU; auto for as many as fit, -1 for all."),
    "main_gpu": ("--main-gpu", "The GPU to use, by its number in `edge-wsd doctor`."),
    "workers": ("--workers", "Machines that take layers of the base; each runs `edge-wsd worker`."),
    "worker_timeout": ("--worker-timeout", "Seconds after which a worker that says nothing counts as failed."),
    "threads": ("--threads", "CPU threads."),
    "context_length": ("--ctx", "Length of the context in tokens."),
    "cache_ram": ("--cache-ram", "MiB of memory for conversations that no longer fit into the context; 0 for none."),
    "kv_type": ("--kv-type", "Number format of the KV cache."),
    "flash_attention": ("--flash-attention", "Flash attention; auto: on GPUs, and for a --kv-type below 16 bits."),
    "batch": ("--batch", "Prompt tokens per pass."),
    "exact": ("--exact", "The same text to the last bit, with --speculation and without; slower."),
    "device_signal": (
        "--device-signal",
        "Compute scores where the logits are, and copy none; auto: off.",
    ),
    "mmap": ("--mmap", "Map the file into memory instead of reading it."),
    "extra_buffers": (
        "--extra-buffers",
        "Weights rearranged for the CPU's fastest kernels; auto where they work.",
    ),
    "memory_check": ("--memory-check", "Refuse to load a pair that cannot fit into memory."),
}
_UNSET_MEANS = {
    "switch_at": "off",
    "chunk": "as many as pay",
    "propose": "as many as pay",
    "seed": "a new one each time",
    "stop": "the template's own",
    "logit_bias": "none",
    "grammar": "none",
    "json_schema": "none",
    "main_gpu": "all of them",
    "workers": "none",
    "threads": "the physical cores; 1 for a tiny model",
    "cache_ram": f"half of what is left, at most {DEFAULT_CACHE_RAM}",
    "context_length": f"as trained, at most {DEFAULT_CONTEXT_LENGTH}",
}
_METAVARS = {str: "TEXT", int: "N", float: "X"}
GIVEN = "edge_wsd.given"
"""Under this name the context's `meta` holds the options that were really given."""


_TYPES: Mapping[str, Any] = {
    "gpu_layers": LayersType(),
    "logit_bias": BiasType(),
    "grammar": TextOrFile(),
    "json_schema": TextOrFile(),
    "workers": WorkersType(),
}
"""For fields whose values are of more than one type."""


def field_type(owner: type, name: str) -> tuple[Any, bool]:
    """The type of one value of a dataclass's field, and whether the field holds several."""
    hint = get_type_hints(owner)[name]
    if get_origin(hint) in (Union, UnionType):
        hint = next(part for part in get_args(hint) if part is not NoneType)
    if get_origin(hint) is tuple:
        return get_args(hint)[0], True
    return hint, False


def default_of(owner: type, name: str) -> Any:
    """The default of a dataclass's field."""
    return next(field.default for field in fields(owner) if field.name == name)


def _option(owner: type, name: str, flag: str, text: str, **extra: Any) -> Callable[[F], F]:
    """A click option for one field. It gives None where it is absent, so that the field's default holds."""
    kind, several = field_type(owner, name)
    default = default_of(owner, name)
    if name in _TYPES:
        extra = {"type": _TYPES[name], "metavar": _TYPES[name].name, **extra}
    elif kind is bool:
        bare = flag.removeprefix("--")
        flag, extra = f"--{bare}/--no-{bare}", {"type": bool, **extra}
        default = bare if default else f"no-{bare}"
    elif get_origin(kind) is Literal:
        extra = {"type": click.Choice(get_args(kind)), **extra}
    else:
        extra = {"type": kind, "metavar": _METAVARS[kind], **extra}
    shown = _UNSET_MEANS[name] if default in (None, ()) else default
    help_text = f"{text}  [default: {shown}]"
    return click.option(flag, cls=SectionOption, default=None, multiple=several, help=help_text, **extra)


def _given(flags: Flags, values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Takes the options of these flags out of a command's parameters: those that the user gave."""
    given: dict[str, Any] = {}
    for name, (flag, _) in flags.items():
        value = values.pop(prefix + flag.removeprefix("--").replace("-", "_"))
        if value not in (None, ()):
            given[name] = value
    return given


def _build(make: Callable[..., Any], flags: Flags, given: dict[str, Any], prefix: str = "--") -> Any:
    """Builds the dataclass; a value out of range is wrong usage and named by its flag."""
    try:
        return make(**given)
    except OptionError as error:
        name, _, rest = str(error).partition(" ")
        flag = flags[name][0].replace("--", prefix) if name in flags else name
        raise click.UsageError(f"{flag} {rest}") from error


def require_use(options: Options) -> None:
    """What was given on the command line changes something: an option of the rule, or of a grammar that there is."""
    given = click.get_current_context().meta.get(GIVEN, {})
    if "grammar_from" in given and not options.has_grammar:
        raise click.UsageError("--grammar-from needs a grammar; see --grammar and --json-schema")
    for name in given:
        rule = OF_ONE_RULE.get(name, options.rule)
        if rule != options.rule:
            flag = REPLY_FLAGS[name][0]
            raise click.UsageError(f"{flag} belongs to the rule {rule!r}, and the rule is {options.rule!r}; see --rule")


def reply_options_without(*names: str) -> Callable[[F], F]:
    """Adds an option for each field of `Options` but these; the command gets one argument, `options`."""
    flags = {name: REPLY_FLAGS[name] for name in REPLY_FLAGS if name not in names}

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def command(**values: Any) -> Any:
            given = _given(flags, values)
            click.get_current_context().meta[GIVEN] = given
            return function(options=_build(Options, flags, given), **values)

        decorated: Any = command
        for name, (flag, text) in reversed(flags.items()):
            section = "Sampling" if name in _SAMPLING else "The answer"
            decorated = _option(Options, name, flag, text, section=section)(decorated)
        return decorated  # type: ignore[no-any-return]

    return decorate


reply_options = reply_options_without()
"""Adds an option for each field of `Options`."""


def model_options(function: F) -> F:
    """Adds the options of `ModelSettings`, for both models and for each alone.

    The command gets `drafter_settings` and `base_settings`. `--workers` is the base's alone.
    """

    @functools.wraps(function)
    def command(**values: Any) -> Any:
        shared = _build(ModelSettings, MODEL_FLAGS, _given(MODEL_FLAGS, values))
        for role in SOURCES:
            # The drafter's many short passes would each wait for the network: it has workers only where it is named.
            common = replace(shared, workers=()) if role == "drafter" else shared
            own = _given(MODEL_FLAGS, values, f"{role}_")
            values[f"{role}_settings"] = _build(functools.partial(replace, common), MODEL_FLAGS, own, f"--{role}-")
        return function(**values)

    decorated: Any = command
    for role in reversed(SOURCES):
        for name, (flag, text) in reversed(MODEL_FLAGS.items()):
            option = _option(
                ModelSettings,
                name,
                flag.replace("--", f"--{role}-"),
                text,
                section="Memory and devices",
                hidden=True,
            )
            decorated = option(decorated)
    for name, (flag, text) in reversed(MODEL_FLAGS.items()):
        decorated = _option(ModelSettings, name, flag, text, section="Memory and devices")(decorated)
    return decorated  # type: ignore[no-any-return]


def given_settings(params: Mapping[str, Any], role: str) -> dict[str, Any]:
    """What a command's parameters, as `model_options` adds them, give for one model: fields of `ModelSettings`."""
    shared = _given(MODEL_FLAGS, dict(params))
    if role == "drafter":  # which has workers only where it is named, as above
        shared.pop("workers", None)
    return shared | _given(MODEL_FLAGS, dict(params), f"{role}_")


def parallel_option(function: F) -> F:
    """Adds `--parallel`; `pair_options` takes it into the loading of the pair."""
    default = default_of(ModelSettings, "parallel")
    return click.option(
        "--parallel",
        type=click.IntRange(1, MOST_PARALLEL),
        metavar="N",
        default=default,
        help=f"Answers written at the same time; each needs memory for its own context.  [default: {default}]",
    )(function)


PER_MODEL_NOTE = """\b
Options under "Memory and devices" hold for both models, and exist for each
alone as well: --drafter-gpu-layers 0, --base-kv-type q8_0, ...
"""
