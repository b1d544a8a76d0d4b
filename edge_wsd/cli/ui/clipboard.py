"""The clipboard: by a program of the system or, where there is none, through the terminal itself (OSC 52)."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator

from edge_wsd.cli.ui.guard import drawing_on
from edge_wsd.cli.ui.terminal import can_draw
from edge_wsd.errors import EdgeWsdError

_TIMEOUT_S = 10.0
_MOST_BYTES = 74_994
"""More than this some terminals cut off without a word (OSC 52 takes 100,000 characters of base64)."""


class ClipboardError(EdgeWsdError):
    """There is no way to the clipboard from here."""


def copy(text: str) -> str:
    """Puts the text into the clipboard. Returns who took it, for a person. Raises `ClipboardError`."""
    data = text.encode(errors="replace")
    for command in _programs():
        if _taken(command, data):
            return command[0]
    if not can_draw(sys.stdout) or os.environ.get("TERM") == "linux":
        raise ClipboardError(f"there is no clipboard here; install {_WANTED}, or keep the conversation with /save FILE")
    if len(data) > _MOST_BYTES:
        raise ClipboardError(
            f"a terminal takes {_MOST_BYTES} bytes, and these are {len(data)}; install {_WANTED}, or use /save FILE"
        )
    out = drawing_on(sys.stdout)
    out.write(f"\x1b]52;c;{base64.b64encode(data).decode()}\x07")
    out.flush()
    return "the terminal, if it allows that (OSC 52)"


_WANTED = "wl-clipboard, xclip or xsel"


def _programs() -> Iterator[list[str]]:
    """Those of this system that are there, with a display where they need one."""
    known = [
        (sys.platform == "darwin", ["pbcopy"]),
        (sys.platform == "win32", ["clip.exe"]),
        (bool(os.environ.get("WAYLAND_DISPLAY")), ["wl-copy"]),
        (bool(os.environ.get("DISPLAY")), ["xclip", "-selection", "clipboard"]),
        (bool(os.environ.get("DISPLAY")), ["xsel", "--clipboard", "--input"]),
    ]
    return (command for is_here, command in known if is_here and shutil.which(command[0]))


def _taken(command: list[str], data: bytes) -> bool:
    if sys.platform == "win32":  # which takes the bytes for its own code page without this mark
        data = b"\xff\xfe" + data.decode().encode("utf-16-le")
    try:
        done = subprocess.run(
            command,
            input=data,
            stdout=subprocess.DEVNULL,  # some stay in the background to hand the text out
            stderr=subprocess.DEVNULL,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
