"""The pair of a session and how its models are loaded: what is kept of that, and the choice that it becomes again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from edge_wsd.cli.options import MODEL_FLAGS, default_of, given_settings
from edge_wsd.cli.pair_choice import PairChoice
from edge_wsd.conversation_file import SavedConversation
from edge_wsd.decoding.events import SOURCES
from edge_wsd.errors import EdgeWsdError, OptionError, SessionFileError
from edge_wsd.llama.settings import AUTO, ModelSettings
from edge_wsd.models.pairs.known import find_pair
from edge_wsd.models.pairs.named_pair import MODEL_KEYS, TEMPLATE_KEYS, NamedPair

_OF_PAIR = (*TEMPLATE_KEYS, "overlap", "isolate")
"""What is given for the pair, and not by `MODEL_FLAGS`."""


def with_pair(conversation: SavedConversation, choice: PairChoice) -> SavedConversation:
    """The conversation with all that brings this choice back, from any folder."""
    pair = choice.pair
    reference = {"name": pair.name} if pair.name else {}
    if not pair.is_built_in:
        found = pair.anywhere().as_dict()
        reference |= {key: found[key] for key in (*MODEL_KEYS, *TEMPLATE_KEYS) if key in found}
    return replace(conversation, pair=reference, loading=loading_of(choice))


def loading_of(choice: PairChoice) -> dict[str, Any]:
    """How its models are loaded, where that is not as usual, as JSON has it."""
    kept: dict[str, Any] = {}
    for role in SOURCES:
        settings = choice.loading[f"{role}_settings"]
        values = {field.name: getattr(settings, field.name) for field in fields(settings)}
        if changed := {name: value for name, value in values.items() if value != default_of(ModelSettings, name)}:
            kept[role] = {name: list(each) if isinstance(each, tuple) else each for name, each in changed.items()}
    usual = {**choice.pair.templates, "overlap": AUTO, "isolate": False}
    given = {key: choice.loading[key] for key in _OF_PAIR if choice.loading.get(key) != usual.get(key)}
    templates = {key: text for key, text in given.items() if key in TEMPLATE_KEYS}
    anywhere = replace(choice.pair, **templates).anywhere()
    return {**kept, **given, **{key: getattr(anywhere, key) for key in templates}}


def session_choice(
    context: click.Context, choice: PairChoice, conversation: SavedConversation, path: Path
) -> PairChoice:
    """The pair of the session at `path`, loaded as it was; what the command line says wins. A pair that is named there
    and another one than the session's is loaded as the command line says.

    Raises `SessionFileError` for settings that do not exist.
    """
    if not any(context.params.get(name) is not None for name in ("pair", *MODEL_KEYS)):
        choice = choice.instead(_referred_pair(conversation.pair) or choice.pair)
    elif not _is_of(choice.pair, conversation.pair):
        return choice
    kept = {key: conversation.loading[key] for key in _OF_PAIR if key in conversation.loading}
    is_given = {key: context.get_parameter_source(key) is ParameterSource.COMMANDLINE for key in _OF_PAIR}
    given = {key: context.params[key] for key in _OF_PAIR if is_given[key]}
    loading = {**choice.loading, **kept, **given}
    for role in SOURCES:
        settings = {**conversation.loading.get(role, {}), **given_settings(context.params, role)}
        try:
            loading[f"{role}_settings"] = ModelSettings(**settings)
        except (OptionError, TypeError) as error:
            raise SessionFileError(f"{path}: the {role} cannot be loaded as `loading` there says: {error}") from error
    return replace(choice, loading=loading)


def _is_of(pair: NamedPair, reference: Mapping[str, str]) -> bool:
    """Whether a session was held with this pair."""
    if pair.name:
        return pair.name == reference.get("name")
    found = pair.anywhere().as_dict()
    return all(found[key] == reference.get(key) for key in MODEL_KEYS)


def _referred_pair(reference: Mapping[str, str]) -> NamedPair | None:
    """The pair that a session was held with; None if it kept none that can be found again."""
    try:
        return find_pair(reference.get("name", ""))
    except EdgeWsdError:  # it had no name, or has been removed since: the models may be there all the same
        drafter, base = reference.get("drafter"), reference.get("base")
        if drafter is None or base is None:
            return None
        return NamedPair("", drafter, base, reference.get("drafter_template"), reference.get("base_template"))


def loading_text(loading: Mapping[str, Any]) -> str:
    """The same as options of the command line: `--ctx 512 --base-kv-type q8_0`; empty if all is as usual."""
    parts: list[str] = []
    of_drafter, of_base = (loading.get(role, {}) for role in SOURCES)
    for name, (flag, _) in MODEL_FLAGS.items():
        if name in of_drafter and name in of_base and of_drafter[name] == of_base[name]:
            parts.append(_option_text(flag, of_base[name]))
            continue
        for role, settings in zip(SOURCES, (of_drafter, of_base), strict=True):
            prefix = "--" if (name, role) == ("workers", "base") else f"--{role}-"
            if name in settings:
                parts.append(_option_text(flag.replace("--", prefix, 1), settings[name]))
    parts += [_option_text(f"--{key.replace('_', '-')}", loading[key]) for key in _OF_PAIR if key in loading]
    return " ".join(parts)


def _option_text(flag: str, value: Any) -> str:
    if isinstance(value, bool):
        return flag if value else flag.replace("--", "--no-", 1)
    return f"{flag} {','.join(value) if isinstance(value, list) else value}"
