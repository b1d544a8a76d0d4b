'''Where the lines of a conversation come from: a file or pipe, or a person at a terminal, however simple it is.

A message of several lines is put between lines of `"""`, or of `!multi` and `!end` as in `llm`; a line that ends with a
backslash goes on with the next; with line editing Alt-Enter breaks the line as well.
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
        """The next one, with the quotes and backslashes that made it one; `message_of` takes them out.

        Raises EOFError at the end and KeyboardInterrupt for Ctrl-C.
        """
        ...


def is_open_block(text: str) -> bool:
    """Whether the text begins a message of several lines that has not been ended yet."""
    stripped = text.strip()
    if stripped.startswith(QUOTES):
        return not (len(stripped) >= 2 * len(QUOTES) and stripped.endswith(QUOTES))
    if (end := _end_of_multi(stripped)) is not None:
        return "\n" not in stripped or stripped.rpartition("\n")[2].strip() != end
    return _goes_on(text) and not stripped.startswith("/")  # a command may end with a folder of Windows


def message_of(text: str) -> str:
    """The inside of a block, and the lines that backslashes join; other text as it is."""
    stripped = text.strip()
    if stripped.startswith(QUOTES):
        return stripped.removeprefix(QUOTES).removesuffix(QUOTES).strip("\n")
    if (end := _end_of_multi(stripped)) is not None:
        lines = stripped.split("\n")[1:]
        return "\n".join(lines[:-1] if lines and lines[-1].strip() == end else lines)
    lines = text.split("\n")
    return "\n".join([*(line[:-1] if _goes_on(line) else line for line in lines[:-1]), lines[-1]])


def _end_of_multi(text: str) -> str | None:
    """The line that ends a block begun by `!multi [WORD]`; None for other text."""
    first, *words = text.partition("\n")[0].split() or [""]
    return " ".join(["!end", *words]) if first.lower() == "!multi" else None


def _goes_on(line: str) -> bool:
    """Whether it ends with a backslash that is not itself escaped."""
    return (len(line) - len(line.rstrip("\\"))) % 2 == 1


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
