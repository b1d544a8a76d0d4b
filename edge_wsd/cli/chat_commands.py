"""The slash commands of `chat`: a table of names, and what each of them does to the conversation."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from edge_wsd.cli.chat_input import QUOTES
from edge_wsd.cli.options import REPLY_FLAGS, field_type
from edge_wsd.cli.status import statistics_rows
from edge_wsd.cli.texts import read_text
from edge_wsd.decoding.options import Options
from edge_wsd.errors import EdgeWsdError, OptionError

if TYPE_CHECKING:
    from edge_wsd.cli.chat import Chat

_NOTHING = ("none", "off", "default")
_SWITCHES = {"on": True, "true": True, "yes": True, "off": False, "false": False, "no": False}


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
    match = re.fullmatch(r"/([a-z]+|\?)(?:\s+(.*))?", line.strip(), re.DOTALL | re.IGNORECASE)
    return (match[1].lower(), (match[2] or "").strip()) if match else None


def execute(chat: Chat, name: str, rest: str) -> None:
    """Carries out a command. Raises `CommandError` for an unknown one."""
    command = COMMANDS.get(ALIASES.get(name, name))
    if command is None:
        raise CommandError(
            f"there is no command /{name}; /help lists them, and between {QUOTES} a message may begin with /"
        )
    if rest and command.takes == "nothing":
        raise CommandError(f"/{name} takes nothing behind it")
    command.act(chat, rest)


def _help(chat: Chat, _rest: str) -> None:
    chat.screen.table(
        [
            *((command.usage, command.meaning) for command in COMMANDS.values()),
            ("", ""),
            ("Alt-Enter", f"breaks the line; so does Enter behind {QUOTES}, until the next {QUOTES}"),
            ("Ctrl-C", "stops the answer; at the prompt it clears the line"),
            ("Ctrl-D", "leaves"),
        ]
    )


def _clear(chat: Chat, _rest: str) -> None:
    chat.session.clear()
    chat.screen.note("the conversation starts anew; system text and options stay")


def _regen(chat: Chat, _rest: str) -> None:
    chat.answer(chat.session.regenerate)


def _system(chat: Chat, rest: str) -> None:
    if not rest:
        chat.screen.note(f"system: {chat.session.system or '(none)'}")
        return
    chat.session.system = None if rest.lower() in _NOTHING else rest
    chat.screen.note("the system text holds from the next answer on")


def _set(chat: Chat, rest: str) -> None:
    name, _, value = rest.partition(" ")
    if not name:
        chat.screen.table(option_rows(chat.session.options))
        return
    name = name.replace("-", "_").lower()
    if name not in REPLY_FLAGS:
        raise CommandError(f"there is no option {name!r}; the options are {', '.join(REPLY_FLAGS)}")
    if not value.strip():
        chat.screen.note(f"{name} = {_shown(getattr(chat.session.options, name))}: {REPLY_FLAGS[name][1]}")
        return
    changed = chat.session.options.with_changes(**{name: parsed(name, value.strip(), chat.defaults)})
    chat.session.options = changed
    chat.screen.note(f"{name} = {_shown(getattr(changed, name))}")


def parsed(name: str, value: str, defaults: Options) -> Any:
    """The value of an option from its text; `none` and `default` give the default. Raises `OptionError`."""
    kind, several = field_type(Options, name)
    default = getattr(defaults, name)
    if value.lower() == "default" or (value.lower() in _NOTHING and (default is None or several)):
        return default
    if several:
        return _strings(name, value)
    if kind is bool:
        if value.lower() not in _SWITCHES:
            raise OptionError(f"{name} must be on or off, not {value!r}")
        return _SWITCHES[value.lower()]
    if get_origin(kind) is Literal:
        return value  # `Options` knows which ones there are
    try:
        return kind(value)
    except ValueError as error:
        expected = "a whole number" if kind is int else "a number"
        raise OptionError(f"{name} must be {expected}, not {value!r}") from error


def _strings(name: str, value: str) -> tuple[str, ...]:
    """Several texts, quoted as in a shell: `END "two words" '\\n\\n'`. `\\n` is a line break."""
    lexer = shlex.shlex(value, posix=True, punctuation_chars=False)
    lexer.whitespace_split, lexer.commenters, lexer.escape = True, "", ""
    try:
        return tuple(part.replace("\\n", "\n") for part in lexer)
    except ValueError as error:
        raise OptionError(
            f"{name} has an open quote in {value!r}; close it, or quote it with the other kind"
        ) from error


def option_rows(options: Options) -> list[tuple[str, str]]:
    """Every option with its value and what it means."""
    return [
        (f"{name} {_shown(getattr(options, name))}", REPLY_FLAGS[name][1])
        for name in (field.name for field in fields(options))
    ]


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if value is None or value == ():
        return "none"
    return " ".join(repr(part) for part in value) if isinstance(value, tuple) else str(value)


def _show(chat: Chat, rest: str) -> None:
    if rest == "messages":
        if not chat.session.messages:
            chat.screen.note("nothing has been said yet")
            return
        chat.screen.table([(message.role, message.content) for message in chat.session.messages])
        return
    if rest:
        raise CommandError("/show shows the pair and the options, /show messages the conversation")
    changed = [
        f"{field.name} {_shown(getattr(chat.session.options, field.name))}"
        for field in fields(Options)
        if getattr(chat.session.options, field.name) != field.default
    ]
    chat.screen.table(
        [
            *chat.pair_rows(),
            ("system", chat.session.system or "(none)"),
            ("options", ", ".join(changed) or "all as they come; /set lists them"),
            ("messages", str(len(chat.session.messages))),
        ]
    )


def _stats(chat: Chat, rest: str) -> None:
    if rest:
        if rest.lower() not in _SWITCHES:
            raise CommandError("/stats on and /stats off switch the line after each answer; /stats shows all figures")
        chat.shows_status = _SWITCHES[rest.lower()]
        chat.screen.note(f"a status line after each answer: {_shown(chat.shows_status)}")
    elif chat.session.last is None:
        chat.screen.note("no answer yet")
    else:
        chat.screen.table(statistics_rows(chat.session.last))


def _save(chat: Chat, rest: str) -> None:
    path = _file(rest, "/save FILE")
    chat.session.save(path)
    chat.screen.note(f"saved to {path}; /load {rest} brings the conversation back")


def _load(chat: Chat, rest: str) -> None:
    chat.load(_file(rest, "/load FILE"))
    count = len(chat.session.messages)
    chat.screen.note(f"{count} message{'' if count == 1 else 's'} loaded; /show messages shows them")


def _read(chat: Chat, rest: str) -> None:
    text = read_text(str(_file(rest, "/read FILE")))
    chat.enclosed.append(text)
    chat.screen.note(f"{len(text)} characters of {rest} go with your next message")


def _file(rest: str, usage: str) -> Path:
    if not rest:
        raise CommandError(f"a file is missing: {usage}")
    return Path(rest).expanduser()


def _quit(_chat: Chat, _rest: str) -> None:
    raise EOFError


COMMANDS: dict[str, SlashCommand] = {
    "help": SlashCommand("/help", "shows this; /? as well", _help),
    "clear": SlashCommand("/clear", "forgets what was said", _clear),
    "regen": SlashCommand("/regen", "writes the last answer again", _regen),
    "system": SlashCommand("/system [TEXT|none]", "shows or sets what the models are told first", _system, "text"),
    "set": SlashCommand("/set [NAME [VALUE]]", "shows or sets options: /set threshold 0.9", _set, "option"),
    "show": SlashCommand("/show [messages]", "shows the pair and options, or what was said", _show, "text"),
    "stats": SlashCommand("/stats [on|off]", "figures of the last answer; a line after each", _stats, "switch"),
    "save": SlashCommand("/save FILE", "saves the conversation", _save, "file"),
    "load": SlashCommand("/load FILE", "loads a saved conversation", _load, "file"),
    "read": SlashCommand("/read FILE", "puts a text file in front of your next message", _read, "file"),
    "quit": SlashCommand("/quit", "leaves; /exit and /bye as well", _quit),
}
ALIASES = {"?": "help", "exit": "quit", "bye": "quit", "q": "quit"}


def complete(line: str) -> Iterable[tuple[str, str]]:
    """What the last word of a command line may become, with its meaning."""
    words = line.split(" ")
    if len(words) == 1:
        return [(f"/{name}", command.meaning) for name, command in COMMANDS.items() if f"/{name}".startswith(line)]
    command = COMMANDS.get(words[0].removeprefix("/"))
    return [] if command is None else _complete_argument(command, words[1:])


def _complete_argument(command: SlashCommand, words: list[str]) -> Iterator[tuple[str, str]]:
    last = words[-1]
    candidates: Iterable[tuple[str, str]] = ()
    if command.takes == "file" and len(words) == 1:
        candidates = _files(last)
    elif command.takes == "switch" and len(words) == 1:
        candidates = [("on", ""), ("off", "")]
    elif command.takes == "option" and len(words) == 1:
        candidates = [(name, meaning) for name, (_, meaning) in REPLY_FLAGS.items()]
    elif command.takes == "option" and len(words) == 2 and words[0] in REPLY_FLAGS:
        kind, _ = field_type(Options, words[0])
        values = ("on", "off") if kind is bool else get_args(kind) if get_origin(kind) is Literal else ()
        candidates = [(value, "") for value in values]
    return (pair for pair in candidates if pair[0].startswith(last))


def _files(beginning: str) -> Iterator[tuple[str, str]]:
    folder, slash, _ = beginning.rpartition("/")
    try:
        entries = sorted(Path(folder + slash or ".").expanduser().iterdir())
    except (OSError, RuntimeError):
        return
    for entry in entries:
        if not entry.name.startswith("."):
            yield (f"{folder}{slash}{entry.name}" + ("/" if entry.is_dir() else ""), "")
