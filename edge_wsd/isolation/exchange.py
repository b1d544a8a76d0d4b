"""Something that the process of the models was asked for, seen from the application: what is told of it comes here."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable

from edge_wsd.decoding.events import Event
from edge_wsd.engine.event_queue import EventQueue

_LOG = logging.getLogger(__name__)


class Exchange(EventQueue):
    """Of one number. Events are for the reader of the reply, all else for whoever has asked."""

    def __init__(self, number: int, cancel: Callable[[Exchange], None]) -> None:
        super().__init__()
        self.number = number
        self.answers: queue.SimpleQueue[object] = queue.SimpleQueue()
        """What whoever has asked waits for; an exception is the last."""
        self.over = threading.Event()
        self.told_at = time.monotonic()
        """When something was last told of it."""
        self.cancel_heard = False
        """Whether the process is known to have heard of its cancel."""
        self._cancel = cancel

    def cancel(self) -> None:
        if not self.over.is_set():
            self._cancel(self)

    def tell_of(self, what: object, *, is_last: bool) -> None:
        """Hand something on."""
        self.told_at = time.monotonic()
        if is_last:
            self.over.set()
        if isinstance(what, Event):
            self._hand_to_reader(what)
        else:
            self.answers.put(what)

    def fail(self, error: Exception) -> None:
        """Hand an error to whoever waits for it, and to whoever reads the reply."""
        self.over.set()
        self.error = error
        self.answers.put(error)
        self._hand_to_reader(error)

    def _hand_to_reader(self, event: Event | Exception) -> None:
        """A reader that cannot be reached does not stop the others: its event loop or window may be gone."""
        try:
            self.tell(event)
        except Exception as error:
            _LOG.warning("the reader of a reply could not be told of an event: %s: %s", type(error).__name__, error)
            self.cancel()
