"""What a user gives to a model: a prompt (argument, stdin, file) or a whole conversation as JSON."""

from __future__ import annotations

import os
import select
import stat
import sys
from collections.abc import Callable
from typing import Any, BinaryIO, TypeVar

import click

from edge_wsd.checks import half_character_at
from edge_wsd.conversation_file import SavedConversation, is_conversation
from edge_wsd.decoding.options import Options
from edge_wsd.errors import EdgeWsdError
from edge_wsd.prompts.messages import Message
from edge_wsd.reading import parse_json, read_bounded

F = TypeVar("F", bound=Callable[..., Any])
MOST_BYTES = 16 * 2**20
"""More than any context holds; without a bound an endless pipe would fill the memory."""

_SILENCE_S = 3.0


class InputError(EdgeWsdError):
    """A prompt or a conversation cannot be used."""


def checked(text: str, what: str) -> str:
    """The text, if it can be a prompt: valid, without NUL, not blank."""
    if not text.strip():
        raise InputError(f"{what} is empty; give it some text")
    return valid(text, what)


def valid(text: str, what: str) -> str:
    """The text, if a model can read it: no half characters, which stand for bytes that are not UTF-8, and no NUL."""
    position = text.find("\0")
    if position >= 0:
        raise InputError(f"{what} holds a NUL character at position {position}; only text can be answered")
    half = half_character_at(text)
    if half is None:
        return text
    try:
        # What the locale could not read of an argument stands as its bytes, which may be UTF-8 all the same.
        return text.encode(errors="surrogateescape").decode()
    except UnicodeError as error:
        raise InputError(
            f"{what} is not valid UTF-8 at position {half}; convert it, e.g. with iconv -t UTF-8"
        ) from error


def system_option(function: F) -> F:
    """Adds `--system`."""

    def check(_context: click.Context, _param: click.Parameter, value: str | None) -> str | None:
        return None if value is None else valid(value, "--system")

    return click.option("--system", metavar="TEXT", callback=check, help="The system prompt, for both models.")(
        function
    )


def decoded(data: bytes, what: str) -> str:
    """Bytes as text without the final line break."""
    if len(data) > MOST_BYTES:
        raise InputError(f"{what} is longer than {MOST_BYTES // 2**20} MiB; give a shorter text")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{what} is not valid UTF-8: byte 0x{data[error.start]:02x} at offset {error.start}; "
            "convert it, for example with iconv -f LATIN1 -t UTF-8"
        ) from error
    return text.rstrip("\r\n")


def read_stdin() -> str:
    """All of stdin as a prompt."""
    return checked(decoded(_bytes_of_stdin(), "the prompt on stdin"), "the prompt on stdin")


def piped_text(*, quiet: bool) -> str:
    """What stands on stdin beside a prompt: all of a pipe or a file; "" for anything else, such as /dev/null.

    A pipe is read until its writer closes it. If nothing comes at first, and not `quiet`, a line on stderr tells so.
    """
    try:
        descriptor = sys.stdin.fileno()
        mode = os.fstat(descriptor).st_mode
    except (AttributeError, ValueError, OSError):  # closed, or replaced by something without a descriptor
        return ""
    if not stat.S_ISFIFO(mode) and not stat.S_ISREG(mode):
        return ""
    if not quiet and sys.platform != "win32" and not select.select([descriptor], [], [], _SILENCE_S)[0]:
        click.echo("waiting for the end of stdin; to use PROMPT alone, add </dev/null", err=True)
    text = decoded(_bytes_of_stdin(), "the text on stdin")
    return checked(text, "the text on stdin") if text.strip() else ""


def read_text(path: str) -> str:
    """A text file as a prompt, or as a part of one."""
    return checked(decoded(_bytes_of(path), path), path)


def read_conversation(path: str) -> tuple[list[dict[str, Any]], Options | None]:
    """Messages from a JSON list of {"role": ..., "content": ...}; `-` reads stdin.

    A file written by /save has options as well, and its system text becomes the first message.
    """
    text = decoded(_bytes_of_stdin() if path == "-" else _bytes_of(path), path)
    expected = 'a JSON list of objects {"role": "user", "content": "..."}, or a file written by /save'
    try:
        data = parse_json(text)
    except ValueError as error:
        raise InputError(f"{path} is not a conversation: {error}; expected {expected}") from error
    options = None
    if is_conversation(data):
        saved = SavedConversation.parse(data, path)
        system = [] if saved.system is None else [Message("system", saved.system)]
        data, options = [message.as_dict() for message in (*system, *saved.messages)], saved.options
    if not isinstance(data, list) or not data or not all(isinstance(entry, dict) for entry in data):
        raise InputError(f"{path} is not a conversation; expected {expected}")
    for number, entry in enumerate(data, start=1):
        _check_message(entry, f"message {number} of {path}")
    return data, options


def _check_message(entry: dict[str, Any], what: str) -> None:
    if set(entry) != {"role", "content"} or not all(isinstance(value, str) for value in entry.values()):
        raise InputError(f"{what} must hold a role and a content, both text, and nothing else")
    (checked if entry["role"] == "user" else valid)(entry["content"], what)


def _bytes_of(path: str) -> bytes:
    try:
        return read_bounded(path, MOST_BYTES)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error


def _bytes_of_stdin() -> bytes:
    if sys.stdin is None:
        raise InputError("stdin is closed; give the prompt as an argument")
    return _some(sys.stdin.buffer)


def _some(file: BinaryIO) -> bytes:
    return file.read(MOST_BYTES + 1)
