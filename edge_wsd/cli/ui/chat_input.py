'''Where the lines of a conversation come from: a file or pipe, or a person at a terminal, however simple it is.

A message of several lines is put between lines of `"""`; with line editing Alt-Enter breaks the line as well.
'''

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

from edge_wsd.cli.ui.texts import MOST_BYTES, decoded

QUOTES = '"""'
PROMPT, CONTINUATION = ">>> ", "... "


class Completion(NamedTuple):
    """What the text before the cursor may be completed to."""

    text: str
    """Takes the place of the last `replaces` characters."""
    replaces: int
    shown: str
    meaning: str = ""


Complete = Callable[[str], Iterable[Completion]]


class LineSource(Protocol):
    """Gives one message or command after the other."""

    def read(self) -> str:
        """The next one, a block still in its quotes.

        Raises EOFError at the end and KeyboardInterrupt for Ctrl-C.
        """
        ...


def is_open_block(text: str) -> bool:
    """Whether the text begins a block of several lines that has not been closed yet."""
    stripped = text.strip()
    return stripped.startswith(QUOTES) and not (len(stripped) >= 2 * len(QUOTES) and stripped.endswith(QUOTES))


def without_quotes(text: str) -> str:
    """The inside of a block; other text as it is."""
    stripped = text.strip()
    if not stripped.startswith(QUOTES):
        return text
    return stripped.removeprefix(QUOTES).removesuffix(QUOTES).strip("\n")


class LineReader:
    """Reads stdin line by line. Empty lines are passed over.

    With `prompts` it asks for each, for a person at a terminal that can do nothing but take lines.
    """

    def __init__(self, *, prompts: bool = False) -> None:
        self._prompts = prompts

    def read(self) -> str:
        """The next line or block. A block that the end of the input leaves open counts as closed."""
        if sys.stdin is None:
            raise EOFError
        text = self._line(PROMPT)
        while not text.strip():
            text = self._line(PROMPT)
        while is_open_block(text):
            try:
                text += "\n" + self._line(CONTINUATION)
            except EOFError:
                break
        return text

    def _line(self, prompt: str) -> str:
        if self._prompts:
            sys.stdout.write(prompt)
            sys.stdout.flush()
        data = sys.stdin.buffer.readline(MOST_BYTES + 1)
        if not data:
            raise EOFError
        return decoded(data, "a line of stdin")
