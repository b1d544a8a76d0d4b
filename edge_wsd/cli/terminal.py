"""What the terminal can do, and what must not reach it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn, TextIO

_VISIBLE = {code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\n\t"}
_VISIBLE[0x7F] = "\u2421"
_VISIBLE.update(dict.fromkeys(range(0x80, 0xA0), "\ufffd"))


def neutralise(text: str) -> str:
    """Make control characters visible: no answer may move the cursor, set the title or clear the screen."""
    return text.translate(_VISIBLE)


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a person looks at this stream. False for a stream that is closed."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False


def colours_wanted(stream: TextIO | None, choice: bool | None = None) -> bool:
    """`--color` and `--no-color` win; then NO_COLOR and a dumb terminal say no; a terminal says yes."""
    if choice is not None:
        return choice
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return is_terminal(stream)


def many_colours() -> bool:
    """Whether the terminal has at least 256 colours."""
    return "256" in os.environ.get("TERM", "") or os.environ.get("COLORTERM", "") in ("truecolor", "24bit")


_undo: list[Callable[[], None]] = []
"""What must be undone if the process ends at once, in the middle of an answer."""


@contextmanager
def keys_unseen() -> Iterator[None]:
    """While an answer is written, keys are kept for the next line but not shown in the middle of the text."""
    restore = _hide_keys()
    if restore is None:
        yield
        return
    _undo.append(restore)
    try:
        yield
    finally:
        _undo.remove(restore)
        restore()


def _hide_keys() -> Callable[[], None] | None:
    """Hides them; returns what shows them again, or None where there is no terminal to change."""
    try:
        import termios
    except ImportError:  # Windows
        return None
    try:
        descriptor = sys.stdin.fileno()
        before = termios.tcgetattr(descriptor)
    except (AttributeError, ValueError, OSError, termios.error):  # stdin is closed or no terminal
        return None
    quiet = list(before)
    quiet[3] &= ~(termios.ECHO | termios.ICANON)  # without lines, so that a Ctrl-D typed ahead is kept as well
    termios.tcsetattr(descriptor, termios.TCSANOW, quiet)
    return lambda: termios.tcsetattr(descriptor, termios.TCSANOW, before)


def leave_at_once(code: int) -> NoReturn:
    """Ends the process although work still runs, with the terminal as it was found."""
    for restore in _undo:
        restore()
    if is_terminal(sys.stdout):
        os.write(sys.stdout.fileno(), b"\x1b[0m\n")
    os._exit(code)  # not `sys.exit`: the work still uses what a tidy end would free
