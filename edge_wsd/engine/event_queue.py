"""What passes from who writes a reply to who reads it: its events, and the wish to end it."""

from __future__ import annotations

import queue
from abc import ABC, abstractmethod
from collections.abc import Callable

from edge_wsd.decoding.events import Event


class EventQueue(ABC):
    """One writer and one reader. The last that is put there is `Finished`, or the error that ended the reply."""

    def __init__(self) -> None:
        self.events: queue.SimpleQueue[Event | BaseException] = queue.SimpleQueue()
        self.on_event: Callable[[], object] | None = None
        """Called in the writer's thread when something was put there."""
        self.error: BaseException | None = None

    def tell(self, event: Event | BaseException) -> None:
        """Send an event to the reader. Raises what the reader's `on_event` raises."""
        self.events.put(event)
        if (heard := self.on_event) is not None:
            heard()

    @abstractmethod
    def cancel(self) -> None:
        """May be called from any thread, a signal handler or `__del__`: takes no lock."""
