"""Work that may wait for long, done in a thread so that whoever asked for it hears Ctrl-C meanwhile."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
POLL_S = 0.1


def in_background(work: Callable[[], T], tick: Callable[[], None]) -> T:
    """The result of `work()`, or what it raises. `tick()` is called ten times a second and may raise to give up.

    Work that was given up goes on unheard until it ends by itself; it holds up neither the caller nor the end of the
    process, so it must change nothing that others use.
    """
    outcomes: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            outcomes.put((work(), None))
        except BaseException as error:  # raised where it is waited for
            outcomes.put((None, error))

    threading.Thread(target=run, name="edge-wsd background", daemon=True).start()
    while True:
        try:
            result, error = outcomes.get(timeout=POLL_S)
        except queue.Empty:
            tick()
            continue
        if error is not None:
            raise error
        return result  # type: ignore[return-value]  # there is no error, so it is the result
