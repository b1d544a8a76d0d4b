"""The files of a batch: questions as JSON lines, and their answers, line for line, in the same order.

>>> with open("in.jsonl", "rb") as source, AnswersFile(Path("out.jsonl"), settings) as answers:
...     for line in answers.take_up(read_lines(source)):     # those that are not answered yet
...         answers.write(line, {"text": "..."})

An answer's line begins with the keys of its question, its number and a digest of the settings. So a file of answers
shows by itself how far it got, whether it belongs to these questions, and where it was cut off.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, starmap
from json import JSONDecodeError
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final

from edge_wsd.errors import BatchFileError, EdgeWsdError, TemplateError
from edge_wsd.files import behind_links, lock
from edge_wsd.json_text import json_line
from edge_wsd.prompts.messages import Message, parse_messages
from edge_wsd.reading import parse_json

MOST_BYTES: Final = 16 << 20
"""Limit for one question; more than any context holds."""
_MOST_ANSWER_BYTES = 8 * MOST_BYTES
_MOST_SHOWN = 60
_BLANK = b" \t\r\n\xef\xbb\xbf"
_LIST_BEGINS = re.compile(rb"\[\s*($|[\"{\[\]])")
"""Not `[draft] How do I ...`, which is a question."""
_PROMPT_KEYS = ("prompt", "messages", "context")
_EXPECTED = 'expected {"prompt": "..."}, or {"messages": [...]} with role and content'
OWN_KEYS: Final = frozenset(
    ("line", "settings", "text", "finish_reason", "stop", "note", "seed", "switch", "tokens", "stats", "error", "input")
)
"""Keys of an answer. If a question has one of them, its value is under "input" in the answer."""


@dataclass(frozen=True, slots=True)
class Line:
    """One question. `error` says why it cannot be asked; else `messages` is what to ask."""

    number: int
    """In its file, from 1; blank lines count, but are not questions."""
    brought: dict[str, Any] = field(default_factory=dict)
    """All keys of its object."""
    messages: tuple[Message, ...] = ()
    error: EdgeWsdError | None = None

    def prompt(self) -> tuple[Message, ...]:
        """The messages to ask. Raises the line's error."""
        if self.error is not None:
            raise self.error
        return self.messages

    def answered(self, settings: str, answer: Mapping[str, Any]) -> bytes:
        """The line of its answer."""
        kept = {key: value for key, value in self.brought.items() if key not in OWN_KEYS}
        if moved := {key: value for key, value in self.brought.items() if key in OWN_KEYS}:
            kept["input"] = moved
        return json_line({**kept, "line": self.number, "settings": settings, **answer}).encode() + b"\n"

    def beginning(self, settings: str) -> bytes:
        """The beginning of the answer's line, which does not depend on the answer."""
        known = {} if self.error is None else {"error": str(self.error)}
        return self.answered(settings, known).removesuffix(b"}\n")


def read_lines(file: BinaryIO) -> Iterator[Line]:
    """The questions of a file or a pipe, read as they are needed. Blank lines are skipped."""
    return starmap(partial(_parsed, _object), _numbered(file))


def read_prompts(file: BinaryIO) -> Iterator[Line]:
    """The same, or the questions of a plain text, one on each line: where the first line does not begin as JSON.

    Raises `BatchFileError` for a single list of JSON: its lines are no questions.
    """
    lines = _numbered(file)
    if (first := next(lines, None)) is None:
        return iter(())
    begins = first[1].strip(_BLANK)
    if _LIST_BEGINS.match(begins):
        raise BatchFileError("it holds one JSON list; give its objects a line each, for example with jq -c '.[]'")
    return starmap(partial(_parsed, _object if begins.startswith(b"{") else _plain), chain([first], lines))


def digest_of(settings: Mapping[str, Any]) -> str:
    """A short digest of everything that decides what an answer will be."""
    text = json.dumps(settings, sort_keys=True, default=str)
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:12]


class Answers:
    """Writes answers with `put`, one after the other."""

    def __init__(self, settings: str, put: Callable[[bytes], object]) -> None:
        self._settings = settings
        self._put = put
        self.n_lines = self.n_errors = 0
        self.first_error: tuple[int, str] | None = None
        """The number of the first line that could not be answered, and why."""

    def take_up(self, lines: Iterator[Line]) -> Iterator[Line]:
        """The lines that have no answer yet."""
        return lines

    def write(self, line: Line, answer: Mapping[str, Any]) -> None:
        """Adds the answer to a line, or `{"error": ...}` if there is none."""
        self._put(line.answered(self._settings, answer))
        self._count(line, answer)

    def _count(self, line: Line, answer: Mapping[str, Any]) -> None:
        self.n_lines += 1
        if "error" in answer:
            self.n_errors += 1
            self.first_error = self.first_error or (line.number, str(answer["error"]))

    def close(self) -> None:
        """Nothing more is written."""

    def __enter__(self) -> Answers:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()


class AnswersFile(Answers):
    """The file of answers at `path`, which grows by one line at a time. It is locked against other processes.

    It is not written under a temporary name: finished answers are visible at once, and stay whatever happens.
    """

    def __init__(self, path: Path, settings: str, *, anew: bool = False) -> None:
        """`anew` discards the old contents when the first line is written. Raises `BatchFileError` and OSError."""
        super().__init__(settings, self._append)
        self.path = path
        self._anew = anew
        self._whole: int | None = 0
        """Bytes to keep of the file when the first line is added; None afterwards."""
        target = behind_links(path)
        self._is_new = not target.exists()
        self._file = open(target, "a+b", buffering=0)  # noqa: SIM115 - closed by `close`
        if not lock(self._file.fileno()):
            self._file.close()
            raise BatchFileError(f"{path}: another process is writing it; wait until that ends, or name another file")

    def take_up(self, lines: Iterator[Line]) -> Iterator[Line]:
        """The lines that have no answer yet. Raises `BatchFileError` if the file holds anything but their answers."""
        self._whole = 0
        if self._anew:
            return lines
        with open(self._file.name, "rb") as file:
            while data := file.readline(_MOST_ANSWER_BYTES):
                line = next(lines, None)
                if line is None:
                    raise self._refusal("it holds more answers than there are questions")
                begins = line.beginning(self._settings)
                is_torn = not data.endswith(b"}\n") and not file.read(1)  # cut off while it was written
                if not (data.startswith(begins) or (is_torn and begins.startswith(data))):
                    raise self._refusal(self._difference(data, line))
                if is_torn:
                    return chain([line], lines)
                self._count(line, _object(data))
                self._whole += len(data)
        return lines

    def close(self) -> None:
        """Close the file; an empty one that did not exist before is removed."""
        if self._is_new and not self._file.closed and os.fstat(self._file.fileno()).st_size == 0:
            Path(self._file.name).unlink(missing_ok=True)
        self._file.close()

    def _append(self, data: bytes) -> None:
        """Raises an OSError that names the file; what has been written stays."""
        rest = memoryview(data)
        try:
            if self._whole is not None:
                self._file.truncate(self._whole)
                self._whole = None
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.path)) from None

    def _difference(self, data: bytes, line: Line) -> str:
        """Why `data` is not an answer to `line`."""
        number = self.n_lines + 1
        try:
            found = _object(data)
        except BatchFileError:
            found = {}
        if "settings" not in found or "line" not in found:
            return f"its line {number} is not an answer of a batch"
        if found["settings"] != self._settings:
            return f"its line {number} was written by another pair or with other options"
        return f"its line {number} does not answer line {line.number} as it is now"

    def _refusal(self, why: str) -> BatchFileError:
        return BatchFileError(f"{self.path}: {why}; name another file, or start over (--force)")


def _numbered(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, with their numbers; of one that is too long the beginning, too long as well."""
    number = 0
    while data := file.readline(MOST_BYTES + 1):
        number += 1
        if len(data) > MOST_BYTES or data.strip(_BLANK):
            yield number, data
        if len(data) > MOST_BYTES:
            while data and not data.endswith(b"\n"):
                data = file.readline(MOST_BYTES)


def _parsed(read: Callable[[bytes], dict[str, Any]], number: int, data: bytes) -> Line:
    brought: dict[str, Any] = {}
    try:
        if len(data) > MOST_BYTES:
            raise BatchFileError(f"the line is longer than {MOST_BYTES >> 20} MiB")
        brought = read(data)
        return Line(number, brought, _messages(brought))
    except (BatchFileError, TemplateError) as error:
        return Line(number, brought, error=error)


def _text(data: bytes) -> str:
    try:
        return data.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        bad = f"byte 0x{data[error.start]:02x} at offset {error.start}"
        raise BatchFileError(f"the line is not valid UTF-8: {bad}") from None


def _plain(data: bytes) -> dict[str, Any]:
    return {"prompt": _text(data).strip()}


def _object(data: bytes) -> dict[str, Any]:
    text = _text(data).rstrip("\r\n")
    try:
        found = parse_json(text)
    except JSONDecodeError as error:
        raise BatchFileError(f"the line is not JSON: {error.msg} at column {error.colno}; {_EXPECTED}") from None
    except (ValueError, RecursionError) as error:
        raise BatchFileError(f"the line is not valid JSON: {error}") from None
    if not isinstance(found, dict):
        raise BatchFileError(f"the line is not an object but {_shown(found)}; {_EXPECTED}")
    try:
        json.dumps(found, allow_nan=False)
    except ValueError:
        raise BatchFileError("the line is not valid JSON: it holds NaN or an infinite number") from None
    except RecursionError:
        raise BatchFileError("the line is not valid JSON: it nests too many brackets") from None
    return found


def _shown(value: Any) -> str:
    """As in the file, but shortened to fit into a line."""
    text = json_line(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[: _MOST_SHOWN - 3]}..."


def _messages(brought: dict[str, Any]) -> tuple[Message, ...]:
    given = [key for key in _PROMPT_KEYS if key in brought]
    if len(given) != 1:
        defect = f"the line has both {given[0]} and {given[1]}" if given else "the line has nothing to answer"
        raise BatchFileError(f"{defect}; {_EXPECTED}")
    (key,) = given
    value = brought[key]
    if key == "prompt":
        if not isinstance(value, str):
            raise BatchFileError(f"prompt must be a text, not {_shown(value)}; a list of messages goes under messages")
        messages = parse_messages([{"role": "user", "content": value}])
    else:
        if not isinstance(value, list) or not value:
            raise BatchFileError(f"{key} must be a list of messages with role and content, not {_shown(value)}")
        messages = parse_messages(value)
    for message in messages:
        if (position := message.content.find("\0")) >= 0:
            raise BatchFileError(f"a message holds a NUL character at position {position}; only text can be answered")
    if messages[-1].role == "user" and not messages[-1].content.strip():
        raise BatchFileError("the prompt is empty")
    return messages
