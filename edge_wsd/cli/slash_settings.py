"""Slash commands about how answers are written: options, system text, pair, figures."""

from __future__ import annotations

from collections.abc import Callable

from edge_wsd.cli import habits
from edge_wsd.cli.chat import Chat
from edge_wsd.cli.chat_options import (
    NOTHING,
    SWITCHES,
    changed_options,
    option_rows,
    parsed,
    unquoted,
    value_text,
)
from edge_wsd.cli.options import MODEL_FLAGS, REPLY_FLAGS
from edge_wsd.cli.pair_choice import demo_remarks
from edge_wsd.cli.session_pair import loading_of, loading_text
from edge_wsd.cli.slash_command import CommandError
from edge_wsd.cli.ui.status import statistics_rows
from edge_wsd.cli.ui.texts import checked
from edge_wsd.decoding.options import Options
from edge_wsd.models.pairs.known import find_pair, known_pairs
from edge_wsd.models.pairs.named_pair import NamedPair


def system(chat: Chat, rest: str) -> None:
    """Shows or sets the system text."""
    if not rest:
        chat.screen.note(f"system: {chat.session.system or '(none)'}")
        return
    text = unquoted(rest)
    chat.set_system(None if not text or text.lower() in NOTHING else checked(text, "the system text"))
    chat.screen.note("the system text holds from the next answer on")


def set_(chat: Chat, rest: str) -> None:
    """Shows or sets options, also as Ollama has it: `/set parameter num_predict 100`, `/set verbose`."""
    name, value = _name_and_value(rest)
    if name in ("parameter", "parameters", "option"):
        name, value = _name_and_value(value)
    if not name:
        chat.screen.table(option_rows(chat.session.options))
        return
    if name in _ELSEWHERE:
        _ELSEWHERE[name](chat, value)
        return
    name = habits.SAME_OPTIONS.get(name, name)
    if name not in REPLY_FLAGS:
        raise CommandError(_set_advice(name, value))
    if value:
        last = chat.session.last
        if name == "seed" and value == "last":
            if last is None or last.seed is None:
                raise CommandError(
                    "the last answer used no seed; /set temperature 0.7 draws tokens, and then one is used"
                )
            value = str(last.seed)
        chat.set_option(name, parsed(name, value, chat.defaults))
    meaning = "" if value else f": {REPLY_FLAGS[name][1]}"
    chat.screen.note(f"{name} = {value_text(getattr(chat.session.options, name))}{meaning}")


def _name_and_value(text: str) -> tuple[str, str]:
    """`temperature 0.5`, `--temperature=0.5`, `temperature = 0.5`. A name is as Python has it: `--max-tokens` is
    max_tokens."""
    name, _, value = text.strip().partition(" ")
    name, sign, more = name.partition("=")
    value = value.strip()
    if sign:
        value = f"{more} {value}".strip()
    elif value.startswith("="):
        value = value[1:].strip()
    return name.lstrip("-").replace("-", "_").lower(), value


def _set_advice(name: str, value: str) -> str:
    """What to type instead of `/set name value`."""
    if name in habits.SET_NAMES:
        return habits.SET_NAMES[name]
    if name in MODEL_FLAGS:
        return habits.when_loaded(name, MODEL_FLAGS[name][0])
    meant = habits.best_match(name, REPLY_FLAGS)
    if meant is not None:
        return f"there is no option {name!r}; type /set {meant} {value or 'VALUE'}"
    return f"there is no option {name!r}; the options are {', '.join(REPLY_FLAGS)}"


def show(chat: Chat, rest: str) -> None:
    """Shows the pair and the options, or what was said."""
    what = rest.lower()
    if what in ("messages", "history", "conversation"):
        if not chat.session.messages:
            chat.screen.note("nothing has been said yet")
        else:
            chat.screen.transcript(chat.session.messages, chat.session.written)
    elif what in ("parameters", "options"):
        chat.screen.table(option_rows(chat.session.options))
    elif what == "system":
        system(chat, "")
    elif what in ("", "info", "pair"):
        chat.screen.table(_rows(chat))
    else:
        usual = "/show shows the pair and the options, /show messages the conversation"
        raise CommandError(habits.SHOW_NAMES.get(what, usual))


def _rows(chat: Chat) -> list[tuple[str, str]]:
    loading = loading_text(loading_of(chat.chat_pair.choice))
    return [
        *chat.pair_rows(),
        *((("loaded with", loading),) if loading else ()),
        ("system", chat.session.system or "(none)"),
        ("options", changed_options(chat.session.options, Options()) or "all as they come; /set lists them"),
        ("messages", str(len(chat.session.messages))),
        *((("session", chat.kept.name),) if chat.kept is not None else ()),
        *(("with the next", name) for name in chat.enclosed),
    ]


def stats(chat: Chat, rest: str) -> None:
    """Shows all figures of the last answer, or switches the line behind each."""
    if rest:
        if rest.lower() not in SWITCHES:
            raise CommandError("/stats on and /stats off switch the line after each answer; /stats shows all figures")
        chat.shows_status = SWITCHES[rest.lower()]
        chat.screen.note(f"a status line after each answer: {value_text(chat.shows_status)}")
    elif chat.session.last is None:
        chat.screen.note("no answer yet")
    else:
        chat.screen.table(statistics_rows(chat.session.last))


def pair(chat: Chat, rest: str) -> None:
    """Shows the pairs there are, or goes on with another one."""
    if not rest:
        others = [name for name in known_pairs() if name != chat.pair.name]
        chat.screen.table([("pair", chat.pair.name), ("others", ", ".join(others))])
        return
    models = rest.split()
    named = NamedPair("", models[0], models[1]) if len(models) == 2 else find_pair(unquoted(rest))
    choice = chat.chat_pair.choice.instead(named)
    chat.change_pair(choice)
    chat.remarks = demo_remarks() if choice.is_demo else []
    chat.screen.note(f"from now on {choice.title}; what was said stays, and is read by these models")
    for warning in choice.warnings(chat.pair):
        chat.screen.note(f"warning: {warning}")


def _verbose(chat: Chat, _value: str) -> None:
    stats(chat, "on")


def _quiet(chat: Chat, _value: str) -> None:
    stats(chat, "off")


def _format(chat: Chat, value: str) -> None:
    """`/set format json`, or a schema, as Ollama has it: the whole answer follows it."""
    schema = '{"type": "object"}' if unquoted(value).lower() == "json" else value
    if not schema:
        raise CommandError(
            "/set format json has answers be JSON, /set format SCHEMA follow a schema, /set noformat ends it"
        )
    set_(chat, f"json_schema {schema}")
    if chat.session.options.json_schema is not None:
        set_(chat, "grammar_from start")


def _noformat(chat: Chat, _value: str) -> None:
    for name in ("json_schema", "grammar_from"):
        set_(chat, f"{name} default")


_ELSEWHERE: dict[str, Callable[[Chat, str], None]] = {
    "system": system,
    "verbose": _verbose,
    "quiet": _quiet,
    "pair": pair,
    "format": _format,
    "noformat": _noformat,
}
"""Names behind `/set` that have a command of their own."""
