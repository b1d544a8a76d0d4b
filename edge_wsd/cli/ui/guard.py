"""The one way to a terminal: text is made harmless unless it comes from what draws.

Whatever writes to `sys.stdout` or `sys.stderr`, also a library, a log record or a traceback, writes through `Guarded`.
What draws colours or moves the cursor asks for the stream behind it, `drawing_on`, and neutralises the text in its
drawing itself.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, TextIO, cast

import click

from edge_wsd.cli.ui.terminal import is_terminal, neutralise
from edge_wsd.json_text import json_line


class Guarded:
    """A text stream to a terminal that lets no control character through but tabs and line breaks."""

    def __init__(self, stream: TextIO) -> None:
        self.unguarded = stream

    def write(self, text: str) -> int:
        """Writes the text, neutralised."""
        self.unguarded.write(neutralise(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Writes each, neutralised."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        if name == "buffer":  # or bytes would pass by unseen
            raise AttributeError(name)
        return getattr(self.unguarded, name)


def guard_streams() -> None:
    """From now on what is written to a terminal is harmless."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if is_terminal(stream) and not isinstance(stream, Guarded):
            setattr(sys, name, Guarded(stream))


def drawing_on(stream: TextIO) -> TextIO:
    """The stream for what draws: it writes sequences of its own, and only text that it has neutralised."""
    return cast(TextIO, getattr(stream, "unguarded", stream))


def print_json(value: Any) -> None:
    """One line of JSON on stdout."""
    click.echo(json_line(value))
