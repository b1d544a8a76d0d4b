"""The terminal as it was found: put back however the program ends, and for as long as it is stopped.

While an answer is written keys are not shown, at the prompt the terminal is in another mode altogether. A signal that
ends the process leaves it like that, and whoever types next does so blindly.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

from edge_wsd.cli.ui.terminal import can_draw

if sys.platform != "win32":
    import termios

_ENDS = ("SIGTERM", "SIGHUP", "SIGQUIT", "SIGABRT", "SIGALRM", "SIGUSR1", "SIGUSR2", "SIGXCPU")
_SHOW_ALL = b"\x1b[0m\x1b[?25h\x1b[?2004l"
"""No colour, the cursor visible, pasted text not marked."""


class _Found:
    """The first standard stream that is a terminal, and its mode when the program began."""

    descriptor: int | None = None
    mode: list[Any]

    def look(self) -> None:
        """Remembers it as it is now."""
        for descriptor in range(3) if sys.platform != "win32" else ():
            with contextlib.suppress(OSError, termios.error):
                self.mode, self.descriptor = termios.tcgetattr(descriptor), descriptor
                return

    def set(self, mode: list[Any]) -> None:
        """Sets a mode, if the terminal is this process's to change; in the background it is somebody else's."""
        if self.descriptor is None or sys.platform == "win32":
            return
        with contextlib.suppress(OSError):  # it is not the one that this process is controlled by
            if os.tcgetpgrp(self.descriptor) != os.getpgrp():
                return
        with contextlib.suppress(OSError, termios.error):  # it has gone
            termios.tcsetattr(self.descriptor, termios.TCSANOW, mode)


_found = _Found()
on_continue: list[Callable[[], None]] = []
"""Called after the process was stopped and goes on: what was drawn may have to be drawn again."""


def watch_terminal() -> None:
    """From now on a signal that ends or stops this process leaves the terminal as it is now."""
    _found.look()
    if _found.descriptor is None or threading.current_thread() is not threading.main_thread():
        return
    for name in _ENDS:
        _take(name, _end)
    _take("SIGTSTP", _stop)


def _take(name: str, handler: Callable[[int, FrameType | None], None]) -> None:
    number = getattr(signal, name)
    if signal.getsignal(number) is signal.SIG_DFL:  # `nohup` and others may have had it ignored
        signal.signal(number, handler)


def restore() -> None:
    """Puts the terminal back."""
    if _found.descriptor is not None:
        _found.set(_found.mode)
    if can_draw(sys.stdout):
        with contextlib.suppress(OSError, ValueError):
            os.write(sys.stdout.fileno(), _SHOW_ALL)


def _end(number: int, _frame: FrameType | None) -> None:
    """The signal does what it would have done without us."""
    restore()
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(signal.Signals(number))


def _stop(number: int, _frame: FrameType | None) -> None:
    """Stops, as Ctrl-Z asks for, with the terminal in order; when the process goes on, all is as it was."""
    assert _found.descriptor is not None and sys.platform != "win32"
    mode = termios.tcgetattr(_found.descriptor)
    restore()
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(signal.Signals(number))  # returns when the process is continued
    signal.signal(number, _stop)
    _found.set(mode)
    for draw_again in on_continue:
        draw_again()


@contextmanager
def keys_unseen() -> Iterator[None]:
    """While something is written, keys are kept for the next line but not shown in the middle of the text."""
    try:
        before = termios.tcgetattr(sys.stdin.fileno()) if sys.platform != "win32" else None
    except (AttributeError, ValueError, OSError, termios.error):  # stdin is closed or no terminal
        before = None
    if before is None or sys.platform == "win32":
        yield
        return
    quiet = list(before)
    quiet[3] &= ~(termios.ECHO | termios.ICANON)  # without lines, so that a Ctrl-D typed ahead is kept as well
    termios.tcsetattr(sys.stdin, termios.TCSANOW, quiet)
    try:
        yield
    finally:
        with contextlib.suppress(OSError, termios.error):  # it has gone, and the next read tells so
            termios.tcsetattr(sys.stdin, termios.TCSANOW, before)


@contextmanager
def keys_seen() -> Iterator[None]:
    """Inside `keys_unseen`, for whoever asks or opens another program: the terminal as it was found."""
    if _found.descriptor is None or sys.platform == "win32":
        yield
        return
    before = termios.tcgetattr(_found.descriptor)
    _found.set(_found.mode)
    try:
        yield
    finally:
        _found.set(before)


def leave_at_once(code: int) -> NoReturn:
    """Ends the process although work still runs, with the terminal as it was found."""
    restore()
    if can_draw(sys.stdout):
        with contextlib.suppress(OSError, ValueError):
            os.write(sys.stdout.fileno(), b"\n")
    os._exit(code)  # not `sys.exit`: the work still uses what a tidy end would free
