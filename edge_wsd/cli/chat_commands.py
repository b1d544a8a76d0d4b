"""The slash commands of `chat`: a table of names, and what each of them does to the conversation."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

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
    values_of,
)
from edge_wsd.cli.options import MODEL_FLAGS, REPLY_FLAGS
from edge_wsd.cli.typed_path import complete_path, typed_path
from edge_wsd.cli.ui.chat_input import QUOTES, Completion
from edge_wsd.cli.ui.status import statistics_rows
from edge_wsd.cli.ui.texts import checked, read_text
from edge_wsd.decoding.options import Options
from edge_wsd.errors import EdgeWsdError
from edge_wsd.units import counted


class CommandError(EdgeWsdError):
    """A slash command that does not exist or was given something it cannot use."""


@dataclass(frozen=True)
class SlashCommand:
    """One command. `act` gets the conversation and what stands behind the name."""

    usage: str
    meaning: str
    act: Callable[[Chat, str], None]
    takes: Literal["nothing", "text", "file", "option", "switch"] = "nothing"


def split(line: str) -> tuple[str, str] | None:
    """The name and the rest if the line is a command, None for a message such as `/etc/hosts is broken`."""
    match = re.fullmatch(r"/([a-z_]+|\?)(?:\s+(.*))?", line.strip(), re.DOTALL | re.IGNORECASE)
    return (match[1].lower(), (match[2] or "").strip()) if match else None


def refuse_habits(line: str) -> None:
    """Raises `CommandError` for a message that is a command of another program, such as `exit`."""
    words = line.split(maxsplit=1)
    whole = " ".join(words).lower()
    advice = habits.MESSAGES.get(whole) or (habits.MESSAGES.get(words[0].lower()) if whole.startswith("!") else None)
    if advice:
        raise CommandError(f"{advice}; between {QUOTES} it is a message")


def execute(chat: Chat, name: str, rest: str) -> None:
    """Carries out a command. Raises `CommandError` for an unknown one."""
    command = SLASH_COMMANDS.get(SLASH_ALIASES.get(name, name))
    if command is None:
        raise CommandError(_advice(name, rest))
    if rest and command.takes == "nothing":
        raise CommandError(f"/{name} takes no argument")
    command.act(chat, rest)


def _advice(name: str, rest: str) -> str:
    """What to type instead of a command that does not exist."""
    option = habits.SAME_OPTIONS.get(name, name)
    if option in REPLY_FLAGS:
        return f"options are changed by /set: /set {option} {rest or '...'}"
    if name in habits.FOREIGN_SLASH_COMMANDS:
        return f"there is no /{name}; {habits.FOREIGN_SLASH_COMMANDS[name]}"
    meant = habits.best_match(name, [*SLASH_COMMANDS, *SLASH_ALIASES])
    if meant is not None:
        command = SLASH_COMMANDS[SLASH_ALIASES.get(meant, meant)]
        return f"there is no command /{name}; {command.usage} {command.meaning}"
    return f"there is no command /{name}; /help lists them, and between {QUOTES} a message may begin with /"


SHORTCUTS = (
    ("Alt-Enter", f"breaks the line; so does Enter behind {QUOTES}, until the next {QUOTES}"),
    ("Ctrl-C", "stops the answer; at the prompt it clears the line"),
    ("Ctrl-D", "leaves"),
    ("Ctrl-R", "searches what you typed before"),
)


def _help(chat: Chat, rest: str) -> None:
    name = rest.removeprefix("/").lower().partition(" ")[0]
    name = SLASH_ALIASES.get(name, name)
    if name in SLASH_COMMANDS:
        chat.screen.table([(SLASH_COMMANDS[name].usage, SLASH_COMMANDS[name].meaning)])
    elif rest in ("shortcuts", "keys"):
        chat.screen.table(SHORTCUTS)
    elif rest:
        raise CommandError(_advice(name, ""))
    else:
        chat.screen.table(
            [*((command.usage, command.meaning) for command in SLASH_COMMANDS.values()), ("", ""), *SHORTCUTS]
        )
        if chat.remarks:
            chat.screen.space()
        for remark in chat.remarks:
            chat.screen.note(remark)


def _clear(chat: Chat, _rest: str) -> None:
    chat.session.clear()
    dropped = chat.drop_enclosed()
    chat.screen.note(f"the conversation starts anew{dropped}; system text and options stay")


def _regen(chat: Chat, _rest: str) -> None:
    if chat.would_repeat():
        options = chat.session.options
        fixed = "at temperature 0" if options.temperature == 0 else f"with the seed {options.seed}"
        way = "/set temperature 0.7" if options.temperature == 0 else "/set seed none"
        chat.screen.note(f"{fixed} the answer stays the same; {way} brings others")
    chat.answer(chat.session.regenerate)


def _system(chat: Chat, rest: str) -> None:
    if not rest:
        chat.screen.note(f"system: {chat.session.system or '(none)'}")
        return
    text = unquoted(rest)
    chat.set_system(None if not text or text.lower() in NOTHING else checked(text, "the system text"))
    chat.screen.note("the system text holds from the next answer on")


def _set(chat: Chat, rest: str) -> None:
    name, _, value = rest.partition(" ")
    if not name:
        chat.screen.table(option_rows(chat.session.options))
        return
    name, value = _option_name(name), value.strip()
    if name not in REPLY_FLAGS or value.startswith("="):
        raise CommandError(_set_advice(name, value.removeprefix("=").strip()))
    if not value:
        chat.screen.note(f"{name} = {value_text(getattr(chat.session.options, name))}: {REPLY_FLAGS[name][1]}")
        return
    chat.set_option(name, parsed(name, value, chat.defaults))
    chat.screen.note(f"{name} = {value_text(getattr(chat.session.options, name))}")


def _option_name(typed: str) -> str:
    """A name as Python has it: `--max-tokens` is max_tokens."""
    return typed.lstrip("-").replace("-", "_").lower()


def _set_advice(name: str, value: str) -> str:
    """What to type instead of `/set name value`."""
    if name in ("parameter", "parameters", "option"):
        name, _, value = value.partition(" ")
    if "=" in name:
        name, _, rest = name.partition("=")
        value = f"{rest} {value}".strip()
    name = _option_name(name)
    option = habits.SAME_OPTIONS.get(name, name)
    if option in REPLY_FLAGS:
        return f"type /set {option} {value or 'VALUE'}"
    if name in ("system", ""):
        return f"type /system {value or 'TEXT'}" if name else "/set lists the options, /set NAME VALUE changes one"
    if name in habits.SET_NAMES:
        return habits.SET_NAMES[name]
    if name in MODEL_FLAGS:
        return habits.when_loaded(name, MODEL_FLAGS[name][0])
    meant = habits.best_match(name, REPLY_FLAGS)
    if meant is not None:
        return f"there is no option {name!r}; type /set {meant} {value or 'VALUE'}"
    return f"there is no option {name!r}; the options are {', '.join(REPLY_FLAGS)}"


def _show(chat: Chat, rest: str) -> None:
    if rest == "messages":
        if not chat.session.messages:
            chat.screen.note("nothing has been said yet")
            return
        chat.screen.table([(message.role, message.content) for message in chat.session.messages])
        return
    if rest:
        usual = "/show shows the pair and the options, /show messages the conversation"
        raise CommandError(habits.SHOW_NAMES.get(rest.lower(), usual))
    chat.screen.table(
        [
            *chat.pair_rows(),
            ("system", chat.session.system or "(none)"),
            ("options", changed_options(chat.session.options, Options()) or "all as they come; /set lists them"),
            ("messages", str(len(chat.session.messages))),
            *(("with the next", name) for name in chat.enclosed),
        ]
    )


def _stats(chat: Chat, rest: str) -> None:
    if rest:
        if rest.lower() not in SWITCHES:
            raise CommandError("/stats on and /stats off switch the line after each answer; /stats shows all figures")
        chat.shows_status = SWITCHES[rest.lower()]
        chat.screen.note(f"a status line after each answer: {value_text(chat.shows_status)}")
    elif chat.session.last is None:
        chat.screen.note("no answer yet")
    else:
        chat.screen.table(statistics_rows(chat.session.last))


def _save(chat: Chat, rest: str) -> None:
    path = _file(rest, "/save FILE")
    replaced = chat.save(path)
    where = f"saved to {path}" + (", in the place of the conversation that was there" if replaced else "")
    chat.screen.note(f"{where}; /load {rest} brings the conversation back")


def _load(chat: Chat, rest: str) -> None:
    path = _file(rest, "/load FILE")
    chat.load(path)
    chat.screen.note(chat.loaded_note(path) + chat.drop_enclosed())


def _read(chat: Chat, rest: str) -> None:
    if rest.lower() == "none":
        chat.screen.note(chat.drop_enclosed().removeprefix(", ") or "no text was read")
        return
    path = _file(rest, "/read FILE, or /read none")
    text = read_text(str(path))
    chat.enclosed[str(path)] = text
    chat.screen.note(f"your next message goes with {counted(len(text), 'characters')} of {path}")


def _file(rest: str, usage: str) -> Path:
    if not rest:
        raise CommandError(f"a file is missing: {usage}")
    return typed_path(rest)


def _quit(_chat: Chat, _rest: str) -> None:
    raise EOFError


SLASH_COMMANDS: dict[str, SlashCommand] = {
    "help": SlashCommand("/help [NAME]", "shows this; /? as well", _help, "text"),
    "clear": SlashCommand("/clear", "forgets what was said", _clear),
    "regen": SlashCommand("/regen", "writes the last answer again", _regen),
    "system": SlashCommand("/system [TEXT|none]", "shows or sets what the models are told first", _system, "text"),
    "set": SlashCommand("/set [NAME [VALUE]]", "shows or sets options: /set threshold 0.9", _set, "option"),
    "show": SlashCommand("/show [messages]", "shows the pair and options, or what was said", _show, "text"),
    "stats": SlashCommand(
        "/stats [on|off]", "shows all figures of the last answer; a line after each", _stats, "switch"
    ),
    "save": SlashCommand("/save FILE", "saves the conversation", _save, "file"),
    "load": SlashCommand("/load FILE", "loads a saved conversation", _load, "file"),
    "read": SlashCommand("/read FILE|none", "puts a text file in front of your next message", _read, "file"),
    "quit": SlashCommand("/quit", "leaves; /exit and /bye as well", _quit),
}
SLASH_ALIASES = {"?": "help", "exit": "quit", "bye": "quit", "q": "quit"}


def complete(line: str) -> Iterable[Completion]:
    """What a command line may go on with."""
    name, space, rest = line.partition(" ")
    if not space:
        return [
            Completion(f"/{name}", len(line), f"/{name}", command.meaning)
            for name, command in SLASH_COMMANDS.items()
            if f"/{name}".startswith(line)
        ]
    command = SLASH_COMMANDS.get(name.removeprefix("/"))
    return [] if command is None else _complete_argument(command, rest.lstrip(" "))


def _complete_argument(command: SlashCommand, rest: str) -> Iterator[Completion]:
    if command.takes == "file":
        return (Completion(text, len(rest), label) for text, label in complete_path(rest))
    *before, last = rest.split(" ")
    words: Iterable[tuple[str, str]] = ()
    if command.takes == "switch" and not before:
        words = [("on", ""), ("off", "")]
    elif command.takes == "option" and not before:
        words = [(name, meaning) for name, (_, meaning) in REPLY_FLAGS.items()]
    elif command.takes == "option" and len(before) == 1 and before[0] in REPLY_FLAGS:
        words = [(value, "") for value in values_of(before[0])]
    return (Completion(word, len(last), word, meaning) for word, meaning in words if word.startswith(last))
