"""What a user gives to a model: a prompt (argument, stdin, file) or a whole conversation as JSON."""

from __future__ import annotations

import os
import select
import stat
import sys
from typing import Any, BinaryIO

import click

from edge_wsd.errors import EdgeWsdError
from edge_wsd.reading import parse_json, read_bounded

MOST_BYTES = 16 * 2**20
"""More than any context holds; without a bound an endless pipe would fill the memory."""

_PATIENCE_S = 3.0


class InputError(EdgeWsdError):
    """A prompt or a conversation cannot be used."""


def checked(text: str, what: str) -> str:
    """The text, if it can be a prompt: valid, without NUL, not blank."""
    if not text.strip():
        raise InputError(f"{what} is empty; give it some text")
    position = text.find("\0")
    if position >= 0:
        raise InputError(f"{what} holds a NUL character at position {position}; only text can be answered")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"{what} is not valid UTF-8 at position {error.start}; convert it, e.g. with iconv -t UTF-8"
        ) from error
    return text


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
    if not quiet and sys.platform != "win32" and not select.select([descriptor], [], [], _PATIENCE_S)[0]:
        click.echo("waiting for the end of stdin; to use PROMPT alone, add </dev/null", err=True)
    text = decoded(_bytes_of_stdin(), "the text on stdin")
    return checked(text, "the text on stdin") if text.strip() else ""


def read_text(path: str) -> str:
    """A text file as a prompt, or as a part of one."""
    return checked(decoded(_bytes_of(path), path), path)


def read_messages(path: str) -> list[dict[str, Any]]:
    """A conversation: a JSON list of {"role": ..., "content": ...}; `-` reads stdin."""
    text = decoded(_bytes_of_stdin() if path == "-" else _bytes_of(path), path)
    expected = 'a JSON list of objects {"role": "user", "content": "..."}'
    try:
        messages = parse_json(text)
    except ValueError as error:
        raise InputError(f"{path} is no conversation: {error}; expected {expected}") from error
    if not isinstance(messages, list) or not messages or not all(isinstance(entry, dict) for entry in messages):
        raise InputError(f"{path} is no conversation; expected {expected}")
    for number, entry in enumerate(messages, start=1):
        if set(entry) != {"role", "content"} or not all(isinstance(value, str) for value in entry.values()):
            raise InputError(f"message {number} of {path} must hold a role and a content, both text, and nothing else")
        if entry["role"] != "assistant" and entry["role"] != "system":
            checked(entry["content"], f"message {number} of {path}")
    return messages


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
