"""Names of files as people type them in a chat: `~/notes.txt`, `"two words.txt"`, `two\\ words.txt`, `two words`."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from pathlib import Path

_SPECIAL = frozenset(" \t'\"\\")
_ESCAPES = os.name != "nt"  # there a backslash stands between folders


def typed_path(text: str) -> Path:
    """The file that is meant. What is there under just this name wins; else quotes and backslashes are a shell's."""
    text = text.strip()
    literal = _at_home(text)
    if os.path.exists(literal):
        return literal
    words = _words(text)
    return _at_home(words[0]) if len(words) == 1 else literal


def complete_path(typed: str) -> Iterator[tuple[str, str]]:
    """Files that the name being typed may become, each as it has to be typed and as it is shown."""
    quote = typed[:1] if typed[:1] in ("'", '"') else ""
    plain = typed[1:] if quote else _without_escapes(typed)
    folder, slash, beginning = plain.rpartition("/")
    try:
        entries = sorted(_at_home(folder + slash or ".").iterdir())
    except (OSError, ValueError):  # ValueError: a NUL character
        return
    for entry in entries:
        name = entry.name
        hidden = name.startswith(".") and not beginning.startswith(".")
        if name.startswith(beginning) and not hidden and name.isprintable():  # others could not be typed anyway
            end = "/" if entry.is_dir() else ""
            yield _as_typed(f"{folder}{slash}{name}{end}", quote), name + end


def _at_home(name: str) -> Path:
    try:
        return Path(name).expanduser()
    except RuntimeError:  # there is no such user, or no home
        return Path(name)


def _words(text: str) -> list[str]:
    lexer = shlex.shlex(text, posix=True, punctuation_chars=False)
    lexer.whitespace_split, lexer.commenters = True, ""
    if not _ESCAPES:
        lexer.escape = ""
    try:
        return list(lexer)
    except ValueError:  # a quote that is not closed is part of the name
        return []


def _without_escapes(text: str) -> str:
    return (_words(text) or [text])[0] if _ESCAPES and "\\" in text and not text.endswith("\\") else text


def _as_typed(name: str, quote: str) -> str:
    if quote and quote not in name and "\\" not in name:
        return quote + name if name.endswith("/") else f"{quote}{name}{quote}"
    if not _ESCAPES:
        return name
    return "".join(f"\\{character}" if character in _SPECIAL else character for character in name)
