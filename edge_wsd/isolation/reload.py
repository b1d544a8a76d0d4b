"""Models on their way into a new process, after the last one has ended."""

from __future__ import annotations

import threading
from collections.abc import Callable

from edge_wsd._native import CancelFlag
from edge_wsd.errors import Cancelled

_TICK_S = 0.05


class Reload:
    """Goes on in a thread of its own: whoever waits for it may leave."""

    def __init__(self, load: Callable[[CancelFlag], None]) -> None:
        """`load` may end early once its flag is set, if it hangs."""
        self._is_over = threading.Event()
        self._error: BaseException | None = None
        self._is_doubted = CancelFlag()
        threading.Thread(target=self._run, args=(load,), name="edge-wsd loading", daemon=True).start()

    @property
    def is_over(self) -> bool:
        return self._is_over.is_set()

    def wait(self, cancel: CancelFlag) -> None:
        """Returns once the models are loaded. Raises why they are not, and `Cancelled` for one who leaves."""
        while not self._is_over.wait(_TICK_S):
            if cancel.is_set:
                self._is_doubted.set()
                raise Cancelled("loading goes on, but is not waited for")
        if self._error is not None:
            raise self._error

    def _run(self, load: Callable[[CancelFlag], None]) -> None:
        try:
            load(self._is_doubted)
        except BaseException as error:  # for all who wait
            self._error = error
        finally:
            self._is_over.set()
