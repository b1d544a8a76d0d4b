"""The slash commands of `chat`: a table of names, and what a line of input means."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain

from edge_wsd.cli import habits, slash_answers, slash_files, slash_settings
from edge_wsd.cli.chat import Chat
from edge_wsd.cli.chat_options import values_of
from edge_wsd.cli.options import REPLY_FLAGS
from edge_wsd.cli.slash_command import FORCE, CommandError, SlashCommand
from edge_wsd.cli.typed_path import complete_path
from edge_wsd.cli.ui.chat_input import QUOTES, Completion
from edge_wsd.errors import EdgeWsdError
from edge_wsd.models.pairs.known import known_pairs
from edge_wsd.sessions.store import SessionStore

_BANGS = {"!edit": "edit", "!fragment": "read"}
"""Commands of `llm` that work here as well; `!multi` is the line reader's."""


def split(line: str) -> tuple[str, str] | None:
    """The name and the rest if the line is a command, None for a message such as `/etc/hosts is broken`."""
    first, _, rest = line.strip().partition(" ")
    if first.lower() in _BANGS:
        return _BANGS[first.lower()], rest.strip()
    match = re.fullmatch(r"/([a-z_]+(?!\S)|\?)\s*(.*)", line.strip(), re.DOTALL | re.IGNORECASE)
    return (match[1].lower(), match[2].strip()) if match else None


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
    ("Alt-Enter", f"breaks the line; so does Enter behind a \\, or behind {QUOTES} until the next {QUOTES}"),
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


def _quit(_chat: Chat, _rest: str) -> None:
    raise EOFError


SLASH_COMMANDS: dict[str, SlashCommand] = {
    "help": SlashCommand("/help [NAME]", "shows this; /? as well", _help, "text"),
    "clear": SlashCommand("/clear", "forgets what was said", _clear),
    "regen": SlashCommand("/regen", "writes the last answer again; /retry as well", slash_answers.regen),
    "undo": SlashCommand("/undo", "takes the last question and its answer back", slash_answers.undo),
    "edit": SlashCommand(
        "/edit [last|TEXT]", "writes a message, or the last one, in $EDITOR", slash_answers.edit, "text"
    ),
    "compare": SlashCommand(
        "/compare [QUESTION]", "answers with the drafter alone, the base alone and both", slash_answers.compare, "text"
    ),
    "copy": SlashCommand("/copy", "puts the last answer into the clipboard", slash_answers.copy_last),
    "system": SlashCommand(
        "/system [TEXT|none]", "shows or sets what the models are told first", slash_settings.system, "text"
    ),
    "set": SlashCommand(
        "/set [NAME [VALUE]]", "shows or sets options: /set threshold 0.9", slash_settings.set_, "option"
    ),
    "pair": SlashCommand("/pair [NAME]", "goes on with another pair, or with two models", slash_settings.pair, "pair"),
    "show": SlashCommand(
        "/show [messages]", "shows the pair and options, or what was said", slash_settings.show, "text"
    ),
    "stats": SlashCommand(
        "/stats [on|off]", "shows all figures of the last answer; a line after each", slash_settings.stats, "switch"
    ),
    "session": SlashCommand("/session [NAME]", "keeps the conversation under a name", slash_files.session, "text"),
    "save": SlashCommand("/save [--force] FILE", "saves the conversation", slash_files.save, "target"),
    "load": SlashCommand("/load FILE", "loads a saved conversation, or that of a session", slash_files.load, "session"),
    "read": SlashCommand("/read FILE|none", "puts a text file in front of your next message", slash_files.read, "file"),
    "glob": SlashCommand("/glob PATTERN", "does so with every file of such a name", slash_files.glob, "file"),
    "quit": SlashCommand("/quit", "leaves; /exit and /bye as well", _quit),
}
SLASH_ALIASES = {
    "?": "help",
    **dict.fromkeys(("exit", "bye", "q"), "quit"),
    **dict.fromkeys(("retry", "regenerate", "redo"), "regen"),
    **dict.fromkeys(("new", "reset"), "clear"),
}


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
    try:
        return [] if command is None else [*_complete_argument(command, rest.lstrip(" "))]
    except EdgeWsdError:  # a mistake in the file of pairs, perhaps: it is told when the command is used
        return []


def _complete_argument(command: SlashCommand, rest: str) -> Iterator[Completion]:
    if command.takes == "target":
        if len(rest) > 1 and FORCE.startswith(rest):
            return iter([Completion(f"{FORCE} ", len(rest), FORCE)])
        rest = rest.removeprefix(f"{FORCE} ").lstrip(" ")
    if command.takes in ("file", "target", "session"):
        names = SessionStore().names() if command.takes == "session" else []
        sessions = (Completion(name, len(rest), name, "a session") for name in names if name.startswith(rest))
        return chain(sessions, (Completion(text, len(rest), label) for text, label in complete_path(rest)))
    *before, last = rest.split(" ")
    words: Iterable[tuple[str, str]] = ()
    if command.takes == "switch" and not before:
        words = [("on", ""), ("off", "")]
    elif command.takes == "pair" and not before:
        words = [(name, pair.about) for name, pair in known_pairs().items()]
    elif command.takes == "option" and not before:
        words = [(name, meaning) for name, (_, meaning) in REPLY_FLAGS.items()]
    elif command.takes == "option" and len(before) == 1 and before[0] in REPLY_FLAGS:
        words = [(value, "") for value in values_of(before[0])]
    return (Completion(word, len(last), word, meaning) for word, meaning in words if word.startswith(last))
