"""What the terminal can do, and what must not reach it."""

from __future__ import annotations

import os
import re
from typing import TextIO

# C0 but tab and line break, DEL, C1; what turns the direction of the text around it; halves of characters
_HARMFUL = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def neutralise(text: str) -> str:
    """Make control characters visible: no answer may move the cursor, set the title or clear the screen."""
    return _HARMFUL.sub(_visible, text)


def one_line(text: str) -> str:
    """The text as one harmless line, indented as it is: nothing in it can look like a line of the program's own."""
    lines = [line.strip() for line in text.splitlines()]
    indent = text[: len(text) - len(text.lstrip(" "))]
    return indent + neutralise(" ".join(filter(None, lines)))


def _visible(match: re.Match[str]) -> str:
    code = ord(match[0])
    return chr(0x2400 + code) if code < 0x20 else "\u2421" if code == 0x7F else "\ufffd"


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a person looks at this stream. False for a stream that is closed."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False


def is_dumb() -> bool:
    """Whether the terminal knows no control sequences at all, as those inside editors and on serial lines."""
    return os.environ.get("TERM", "").lower() in ("dumb", "unknown")


def can_draw(stream: TextIO | None) -> bool:
    """Whether control sequences, such as those that move the cursor, may be written to this stream."""
    return is_terminal(stream) and not is_dumb()


def colours_wanted(stream: TextIO | None, choice: bool | None = None) -> bool:
    """`--color` and `--no-color` win; then NO_COLOR and a dumb terminal say no; a terminal says yes."""
    if choice is not None:
        return choice
    return not os.environ.get("NO_COLOR") and can_draw(stream)


def many_colours() -> bool:
    """Whether the terminal has at least 256 colours."""
    return "256" in os.environ.get("TERM", "") or os.environ.get("COLORTERM", "") in ("truecolor", "24bit")
