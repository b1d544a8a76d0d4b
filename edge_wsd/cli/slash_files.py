"""Slash commands about files: conversations, sessions, and texts that go with a message."""

from __future__ import annotations

import glob as file_patterns
from pathlib import Path

from edge_wsd.cli.chat import Chat
from edge_wsd.cli.chat_session import ChatSession
from edge_wsd.cli.slash_command import FORCE, CommandError, given_file
from edge_wsd.cli.typed_path import typed_path
from edge_wsd.cli.ui.texts import read_text
from edge_wsd.models.pairs.known import known_pairs
from edge_wsd.sessions.store import SessionStore, is_session_name
from edge_wsd.units import counted

_MOST_FILES = 100


def save(chat: Chat, rest: str) -> None:
    """Saves the conversation to a file; in the place of another conversation only with `FORCE`."""
    if not rest and chat.kept is not None:
        chat.screen.note(f"the session {chat.kept.name} is kept after every turn; /save FILE saves to a file as well")
        return
    first, _, more = rest.partition(" ")
    if forced := first == FORCE:
        rest = more.strip()
    path = given_file(rest, "/save FILE")
    if not chat.session.messages:
        raise CommandError("nothing has been said that could be saved")
    if not forced and chat.would_replace(path):
        raise CommandError(
            f"{path} is another conversation: choose another name, or replace it with /save {FORCE} {rest}"
        )
    replaced = chat.save(path)
    where = f"saved to {path}" + (", in the place of the conversation that was there" if replaced else "")
    chat.screen.note(f"{where}; /load {rest} brings the conversation back")


def load(chat: Chat, rest: str) -> None:
    """Takes up the conversation of a file or, where there is no such file, of a session."""
    path, origin = given_file(rest, "/load FILE"), rest
    if not path.exists() and is_session_name(rest):
        if rest in SessionStore().names():
            path, origin = SessionStore().path_of(rest), f"the session {rest}"
        elif rest in known_pairs():
            raise CommandError(f"there is no conversation {rest!r}; /pair {rest} goes on with the pair of that name")
    chat.load(path)
    chat.screen.note(chat.loaded_note(path if origin == rest else origin) + chat.drop_enclosed())


def session(chat: Chat, rest: str) -> None:
    """Shows the session that is kept, or keeps this conversation as a new one from now on."""
    if not rest:
        kept = "this conversation is kept in no session; /session NAME keeps it"
        chat.screen.note(kept if chat.kept is None else f"session: {chat.kept.name}, kept after every turn")
        return
    if chat.kept is not None:
        raise CommandError(
            f"it is kept in the session {chat.kept.name}; `edge-wsd sessions rename` gives that another name"
        )
    kept_session = SessionStore().open(rest)
    if kept_session.conversation is not None:
        kept_session.close()
        raise CommandError(
            f"there is a session {rest} already: choose another name, or leave with /quit and `edge-wsd chat --session "
            f"{rest}`"
        )
    chat.kept = ChatSession(kept_session, save_kv=None)
    chat.keep()
    chat.screen.note(f"kept in the session {rest}, after every turn")


def read(chat: Chat, rest: str) -> None:
    """Puts a text file in front of the next message."""
    if rest.lower() == "none":
        chat.screen.note(chat.drop_enclosed().removeprefix(", ") or "no text was read")
        return
    path = given_file(rest, "/read FILE, or /read none")
    several = [typed_path(word) for word in rest.split()]
    _enclose(chat, several if not path.exists() and all(each.exists() for each in several) else [path])


def glob(chat: Chat, rest: str) -> None:
    """Puts every text file that a pattern names in front of the next message."""
    if not rest:
        raise CommandError("a pattern is missing: /glob src/*.py")
    found = sorted(file_patterns.glob(str(typed_path(rest)), recursive=True))
    files = [path for path in map(Path, found) if path.is_file()]
    if not files:
        raise CommandError(f"no file is named like {rest}; ** stands for folders of any depth")
    if len(files) > _MOST_FILES:
        raise CommandError(f"{len(files)} files are named like {rest}, and at most {_MOST_FILES} are read at once")
    _enclose(chat, files)


def _enclose(chat: Chat, files: list[Path]) -> None:
    texts = {str(path): read_text(str(path)) for path in files}  # all of them or none
    chat.enclosed.update(texts)
    names = ", ".join(texts) if len(texts) <= 5 else counted(len(texts), "files")
    n_characters = sum(map(len, texts.values()))
    chat.screen.note(f"your next message goes with {counted(n_characters, 'characters')} of {names}")
