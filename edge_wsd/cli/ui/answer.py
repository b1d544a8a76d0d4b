"""One answer on its way from a session to the terminal."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING

from edge_wsd.cli.ui.interruptible import Interruptible
from edge_wsd.cli.ui.paint import Painter, aside
from edge_wsd.cli.ui.status import dropped_note
from edge_wsd.cli.ui.waiting import WaitingLine
from edge_wsd.decoding.events import Dropped, Event, Finished, Reply, Token

if TYPE_CHECKING:
    from edge_wsd.session import Session


class Answer:
    """Writes one answer, with `painter` as it comes, without one unseen. `reply` is what became of it."""

    def __init__(
        self,
        session: Session,
        painter: Painter | None,
        *,
        quiet: bool,
        hears: Callable[[Event], object] | None = None,
    ) -> None:
        """`hears` is told of every event as it happens."""
        self._hears = hears
        self._session = session
        self._painter = painter
        self._quiet = quiet
        self.reply: Reply | None = None
        self.interrupted = False

    def write(self, question: str | None) -> None:
        """To its end. Ctrl-C ends it early, and what there is stays."""
        painter = self._painter
        line = WaitingLine("reading the prompt", quiet=self._quiet)
        work: Interruptible[Event] = Interruptible(
            lambda: self._session.stream(question),
            cancel=self._session.cancel,
            waiting=lambda: line.tick(painter.column if painter else 0),
        )
        try:
            with closing(iter(work)) as events:
                for event in line.between(map(self._heard, events)):
                    self._take(event)
        finally:
            line.erase()
            self.interrupted = work.interrupted
            if painter is not None:
                painter.end()

    def _heard(self, event: Event) -> Event:
        if self._hears is not None:
            self._hears(event)
        return event

    def _take(self, event: Event) -> None:
        if isinstance(event, Token) and self._painter is not None:
            self._painter.write(event.text, event.source)
        elif isinstance(event, Dropped):
            aside(dropped_note(event.n_messages))
        elif isinstance(event, Finished):
            self.reply = event.reply
