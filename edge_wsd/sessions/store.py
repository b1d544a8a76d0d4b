"""The user's sessions: conversations under a name, each in a folder of its own.

>>> with SessionStore().open("work") as kept:
...     chat = pair.session() if kept.conversation is None else Session.of(kept.conversation, pair, kept.path)
...     chat.ask("How do I list files by size?")
...     kept.write(chat.saved())

Whoever has a session open has it alone: a lock says so, which ends with its process.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

from edge_wsd.conversation_file import SavedConversation
from edge_wsd.errors import SessionError, SessionFileError
from edge_wsd.files import remove_abandoned
from edge_wsd.user_folders import data_folder

SESSIONS_VARIABLE = "EDGE_WSD_SESSIONS"
SESSION_NAME_RULE = "letters, digits, dots, dashes and underscores, at most 64 of them, and a letter or digit first"
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9_-])?")
_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)  # no names of files on Windows
_CONVERSATION, _MEMORY = "conversation.json", "memory.kv"


@dataclass(frozen=True, slots=True)
class SessionSummary:
    """One line of a list of sessions. `problem` says why its conversation cannot be read; then nothing is in it."""

    name: str
    changed: datetime
    n_messages: int = 0
    pair: str = ""
    first: str = ""
    """What the user said first."""
    n_memory_bytes: int = 0
    """Size of the file of what the models had in memory; 0 without one."""
    problem: str | None = None


class KeptSession:
    """One session that this process has for itself, until `close`. Use it as a context manager."""

    def __init__(self, name: str, folder: Path, lock: FileLock) -> None:
        self.name = name
        self.path = folder / _CONVERSATION
        self.memory_path = folder / _MEMORY
        """Where what the models have in memory may be kept (`edge_wsd.sessions.memory`)."""
        self._lock = lock
        self.conversation = SavedConversation.read(self.path) if self.path.exists() else None
        """As it was when the session was opened; None for a new one."""

    def write(self, conversation: SavedConversation) -> None:
        """Keep the conversation as it is now, whole or not at all. Raises `SessionFileError`."""
        conversation.write(self.path)

    def close(self) -> None:
        """Let others have it. A session in which nothing was said is gone. Closing twice does nothing."""
        if not self._lock.is_locked:
            return
        if not self.path.exists():
            shutil.rmtree(self.path.parent, ignore_errors=True)
        self._lock.release()

    def __enter__(self) -> KeptSession:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()


class SessionStore:
    """All sessions of a user. Every method raises `SessionError`."""

    def __init__(self, folder: Path | None = None) -> None:
        """`folder` None: `$EDGE_WSD_SESSIONS`, else `sessions` in the user's data folder."""
        self.folder = _root() if folder is None else folder

    def names(self) -> list[str]:
        """All names, in the order of the alphabet."""
        try:
            entries = list(os.scandir(self.folder))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise SessionError(f"{self.folder}: the sessions cannot be listed ({error.strerror})") from error
        return sorted(entry.name for entry in entries if is_session_name(entry.name) and self._exists(entry.name))

    def summaries(self) -> list[SessionSummary]:
        """All sessions, the last used first."""
        return sorted(map(self._summary, self.names()), key=lambda one: one.changed, reverse=True)

    def last_used(self) -> str:
        """The name of the session that was written last, whether it can be read or not."""
        names = self.names()
        if not names:
            raise SessionError("no session has been kept yet; `edge-wsd chat --session NAME` begins one")
        return max(names, key=lambda name: (self.folder / name / _CONVERSATION).stat().st_mtime_ns)

    def read(self, name: str) -> SavedConversation:
        """The conversation of a session, which another process may have open."""
        return SavedConversation.read(self.path_of(name))

    def path_of(self, name: str) -> Path:
        """The file of a session's conversation, which is like one that `/save` writes."""
        self._require(name)
        return self.folder / name / _CONVERSATION

    def open(self, name: str) -> KeptSession:
        """The session of this name for this process alone; a new one if there is none."""
        require_session_name(name)
        folder, lock = self.folder / name, self._taken(name)
        try:
            _make_private(folder)
            remove_abandoned(folder)
            return KeptSession(name, folder, lock)
        except SessionFileError as error:
            lock.release()
            raise SessionFileError(
                f"{error}; choose another name, or `edge-wsd sessions rm {name}` deletes it"
            ) from error
        except OSError as error:
            lock.release()
            raise SessionError(f"{folder}: cannot be written ({error.strerror}); {_way_out()}") from error
        except BaseException:
            lock.release()
            raise

    def rename(self, old: str, new: str) -> None:
        """Give a session another name, which no other has."""
        self._require(old)
        require_session_name(new)
        with self._held(old, new):
            if self._exists(new):
                raise SessionError(f"there is a session {new!r} already; choose another name, or remove it first")
            try:
                os.rename(self.folder / old, self.folder / new)
            except OSError as error:
                raise SessionError(f"{self.folder / old}: cannot be renamed ({error.strerror})") from error

    def remove(self, name: str) -> None:
        """Delete a session and what was kept of the models' memory."""
        self._require(name)
        with self._held(name):
            try:
                shutil.rmtree(self.folder / name)
            except OSError as error:
                raise SessionError(f"{self.folder / name}: cannot be deleted ({error.strerror})") from error

    def _summary(self, name: str) -> SessionSummary:
        path, memory = self.folder / name / _CONVERSATION, self.folder / name / _MEMORY
        changed = datetime.fromtimestamp(path.stat().st_mtime).astimezone()
        try:
            kept = SavedConversation.read(path)
        except SessionError as error:
            return SessionSummary(name, changed, problem=str(error))
        first = next((message.content for message in kept.messages if message.role == "user"), "")
        n_bytes = memory.stat().st_size if memory.exists() else 0
        return SessionSummary(name, changed, len(kept.messages), kept.pair.get("name", ""), first, n_bytes)

    def _exists(self, name: str) -> bool:
        return (self.folder / name / _CONVERSATION).is_file()

    def _require(self, name: str) -> None:
        require_session_name(name)
        if not self._exists(name):
            names = self.names()
            near = get_close_matches(name, names, n=1)
            meant = f"did you mean {near[0]!r}? " if near else ""
            known = f"sessions: {', '.join(names)}" if names else "none has been kept yet; `chat --session NAME` does"
            raise SessionError(f"there is no session {name!r}; {meant}{known}")

    @contextmanager
    def _held(self, *names: str) -> Iterator[None]:
        with ExitStack() as held:
            for name in names:
                held.callback(self._taken(name).release)
            yield

    def _taken(self, name: str) -> FileLock:
        """The session's lock, held; beside its folder, so that the folder can be renamed."""
        lock = FileLock(self.folder / f".{name}.lock", mode=0o600, thread_local=False)
        try:
            _make_private(self.folder)
            lock.acquire(blocking=False)
        except Timeout:
            raise SessionError(
                f"the session {name!r} is open in another program; close it there, or choose another name"
            ) from None
        except OSError as error:
            raise SessionError(f"{self.folder}: cannot be written ({error.strerror}); {_way_out()}") from error
        return lock


def is_session_name(text: str) -> bool:
    """Whether a session can be called so: a plain name of a folder on every system."""
    return _NAME.fullmatch(text) is not None and _DEVICES.fullmatch(text) is None


def require_session_name(text: str) -> None:
    """Raises `SessionError` for what is no name."""
    if not is_session_name(text):
        raise SessionError(f"{text!r} is not a name for a session; a name has {SESSION_NAME_RULE}")


def _make_private(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def _root() -> Path:
    try:
        given = os.environ.get(SESSIONS_VARIABLE)
        return Path(given).expanduser().absolute() if given else data_folder() / "sessions"
    except RuntimeError as error:  # services and containers may run users without a home
        raise SessionError(f"there is no folder for sessions: {error}; {_way_out()}") from None


def _way_out() -> str:
    return f"{SESSIONS_VARIABLE} names another folder for sessions"
