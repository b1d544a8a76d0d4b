"""Reads the calls of tools in an answer while it comes, in the forms that models are commonly taught.

>>> reader = ToolCallReader(["now"])
>>> reader.feed('One moment. <tool_call>{"name": "now", "arguments": {}}</tool_') + reader.feed("call>") + reader.end()
['One moment. ', ToolCall(name='now', arguments={}, id='...')]

The forms are `<tool_call>` JSON `</tool_call>` (Hermes, Qwen), `[TOOL_CALLS]` JSON, or name and JSON (Mistral), and
JSON alone, with or without `<|python_tag|>` before it (Llama 3). What turns out to be no call is text as it was.
"""

from __future__ import annotations

import json
import re
import secrets
import string
from collections.abc import Collection

from edge_wsd.errors import TemplateError
from edge_wsd.prompts.tools import ToolCall

_ID_CHARACTERS = string.ascii_letters + string.digits
_ID_LENGTH = 9  # the only length that Mistral's templates take
_CLOSED = {"<tool_call>": "</tool_call>"}
_OPEN = ("[TOOL_CALLS]", "<|python_tag|>")
_MARKERS = (*_CLOSED, *_OPEN)
_BETWEEN = re.compile(r"[\s;,]*")
_NAMED = re.compile(r"\s*(?:\[TOOL_CALLS\])?\s*([\w.-]+)\s*(?:\[ARGS\])?\s*(?=\{)")


class ToolCallReader:
    """Splits an answer into texts and calls, each as soon as it is certain. White space around calls is dropped."""

    def __init__(self, names: Collection[str], most: int | None = None) -> None:
        """`names` of the tools: JSON alone is only a call if it names one of them. What follows `most` calls is
        dropped.
        """
        self._names = names
        self._n_left = most
        self._held = ""
        self._before: str | None = None
        """The white space and the marker before the held text, if that may become a call; empty for JSON alone."""
        self._has_begun = False
        self._follows_call = False

    def feed(self, text: str) -> list[str | ToolCall]:
        """What has become certain with `text`."""
        self._held += text
        found: list[str | ToolCall] = []
        while self._n_left != 0 and self._advance(found):
            pass
        return found

    def end(self) -> list[str | ToolCall]:
        """What is left at the end of the answer."""
        found: list[str | ToolCall] = []
        held, self._held = self._held, ""
        if self._n_left == 0:
            return found
        if self._before is None:
            self._text(held, found)
        else:
            self._close(held, found)
        return found

    def _advance(self, found: list[str | ToolCall]) -> bool:
        """One step; False if more text is needed."""
        if self._before is None:
            return self._search(found)
        closing = _CLOSED.get(self._before.lstrip())
        if closing is None or closing not in self._held:
            return False
        inside, _, self._held = self._held.partition(closing)
        self._close(inside, found, closing)
        return True

    def _search(self, found: list[str | ToolCall]) -> bool:
        """Passes text on, up to white space or the next marker, of which there may be only the beginning."""
        places = {marker: at for marker in _MARKERS if (at := self._held.find(marker)) >= 0}
        if places:
            marker = min(places, key=lambda marker: places[marker])
            before, _, self._held = self._held.partition(marker)
            self._before = before[len(before.rstrip()) :] + marker
            self._text(before.rstrip(), found)
            return True
        start = self._held.lstrip()
        if not self._has_begun and start[:1] in ("{", "[") and not _may_begin(start):
            self._before = ""
            return True
        held_back = next((at for at in range(len(self._held)) if _may_begin(self._held[at:])), len(self._held))
        held_back = len(self._held[:held_back].rstrip())
        ready, self._held = self._held[:held_back], self._held[held_back:]
        self._text(ready, found)
        return False

    def _close(self, inside: str, found: list[str | ToolCall], closing: str = "") -> None:
        """The calls in what followed a marker; if there are none, all of it is text."""
        before, self._before = self._before or "", None
        calls, rest = self._calls(inside, any_name=bool(before))
        if not calls:
            self._text(before + inside + closing, found)
            return
        if self._n_left is not None:
            calls = calls[: self._n_left]
            self._n_left -= len(calls)
            rest = rest if self._n_left else ""
        found += calls
        self._has_begun = self._follows_call = True  # JSON that follows calls is text
        self._text(rest, found)

    def _text(self, text: str, found: list[str | ToolCall]) -> None:
        if text and not (self._follows_call and not text.strip()):
            self._has_begun, self._follows_call = True, False
            found.append(text)

    def _calls(self, text: str, *, any_name: bool) -> tuple[list[ToolCall], str]:
        """The calls that `text` begins with, and what follows them."""
        calls: list[ToolCall] = []
        at = 0
        while True:
            start = _after(_BETWEEN, text, at)
            name = _NAMED.match(text, start) if any_name else None
            try:
                value, end = json.JSONDecoder(strict=False).raw_decode(text, name.end() if name else start)
                if name:
                    value = {"name": name[1], "arguments": value}
                new = [_call(each) for each in (value if isinstance(value, list) else [value])]
            except (ValueError, TypeError, AttributeError, RecursionError, TemplateError):
                return calls, text[at:]
            if not new or not (any_name or all(call.name in self._names for call in new)):
                return calls, text[at:]
            calls += new
            at = end


def _call(value: dict[str, object]) -> ToolCall:
    """Raises what comes of a value that is no call."""
    arguments = value.get("arguments", value.get("parameters"))
    if isinstance(arguments, str):
        arguments = json.loads(arguments)
    return ToolCall(value.get("name"), arguments or {}, new_call_id())  # type: ignore[arg-type]  # which it checks


def new_call_id() -> str:
    """An id that no other call has."""
    return "".join(secrets.choice(_ID_CHARACTERS) for _ in range(_ID_LENGTH))


def _may_begin(text: str) -> bool:
    """Whether `text` is the beginning of a marker."""
    return any(marker.startswith(text) for marker in _MARKERS)


def _after(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    return found.end() if found else at
