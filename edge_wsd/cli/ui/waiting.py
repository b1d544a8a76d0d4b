"""What the program is busy with, told on a terminal's stderr once it has taken a second, and gone afterwards."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from edge_wsd.cli.ui.guard import drawing_on
from edge_wsd.cli.ui.paint import DIM, RESET
from edge_wsd.cli.ui.terminal import can_draw, colours_wanted, one_line
from edge_wsd.decoding.events import Reading

if TYPE_CHECKING:
    from edge_wsd.decoding.events import Event

SHOWN_AFTER_S = 1.0
_TICK_S = 0.25
_FEWEST_COLUMNS = 16


class WaitingLine:
    """`the base reads the prompt: 512 of 2476 tokens, 12 s`, behind whatever the line holds already.

    `tell` may be called from any thread, what draws only from the one that shows all else.
    """

    def __init__(self, what: str = "", *, quiet: bool = False) -> None:
        self._wanted = can_draw(sys.stderr) and not quiet
        self._shown = ""
        self.tell(what)

    def tell(self, what: str) -> None:
        """What is waited for from now on; "" for nothing."""
        self._what, self._since = what, time.monotonic()

    def go_on(self, what: str) -> None:
        """The same wait, told in other words."""
        self._what = what

    def reading(self, progress: Reading) -> None:
        """How far a model is with the prompt."""
        begin = self.go_on if self._what.startswith(f"the {progress.model}") else self.tell
        begin(f"the {progress.model} reads the prompt: {progress.n_read} of {progress.n_tokens} tokens")

    def between(self, events: Iterable[Event]) -> Iterator[Event]:
        """The events of an answer, with nothing on the line while one of them is shown. What is read is told here."""
        for event in events:
            if isinstance(event, Reading):
                self.reading(event)
            else:
                self.erase()
                self.tell("")
                yield event

    def tick(self, column: int = 0) -> None:
        """Shows it, or shows it anew, if it takes long. The cursor, in `column`, stays where it is."""
        what, waited = self._what, time.monotonic() - self._since
        n_columns = shutil.get_terminal_size().columns - column - 1
        if not (self._wanted and what and waited >= SHOWN_AFTER_S and n_columns >= _FEWEST_COLUMNS):
            return
        text = f"{' ' if column else ''}{one_line(what)}, {waited:.0f} s"[:n_columns]
        if text != self._shown:
            self._shown = text
            faint = colours_wanted(sys.stderr)
            self._draw(f"\x1b7{DIM if faint else ''}{text}{RESET if faint else ''}\x1b[K\x1b8")

    def erase(self) -> None:
        """Takes it off the screen."""
        if self._shown:
            self._shown = ""
            self._draw("\x1b[K")

    @staticmethod
    def _draw(text: str) -> None:
        out = drawing_on(sys.stderr)
        out.write(text)
        out.flush()


@contextmanager
def waiting_for(what: str, *, quiet: bool = False) -> Iterator[WaitingLine]:
    """A line that is gone after the block."""
    line = WaitingLine(what, quiet=quiet)
    try:
        yield line
    finally:
        line.erase()


@contextmanager
def telling(what: str) -> Iterator[None]:
    """The same for work of this thread, which shows nothing itself meanwhile."""
    over = threading.Event()
    with waiting_for(what) as line:

        def tick() -> None:
            while not over.wait(_TICK_S):
                line.tick()

        thread = threading.Thread(target=tick, name="edge-wsd waiting", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
