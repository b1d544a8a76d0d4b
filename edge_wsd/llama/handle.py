"""The one check in front of everything that touches llama.cpp's memory: it is there, and it is this process's own.

llama.cpp ends the process on a pointer that was freed. After a fork the child has the pointers of its parent, but none
of the threads that compute behind them, and it would wait for those for ever.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from edge_wsd.errors import ClosedError, ForkedError
from edge_wsd.llama import library

_WAY_OUT = "load the models in the process that uses them, started afresh (multiprocessing's start method 'spawn')"


class Handle:
    """Holder of one pointer to something that its owner has to free. `what` names it in errors."""

    def __init__(self, pointer: int, what: str) -> None:
        self._pointer = pointer
        self._process = os.getpid()
        self._what = what

    @property
    def is_open(self) -> bool:
        return bool(self._pointer) and self._process == os.getpid()

    @property
    def pointer(self) -> int:
        """For the next call into llama.cpp."""
        self.require_open()
        return self._pointer

    def require_open(self) -> None:
        """Raises `ClosedError` once it is closed, `ForkedError` in a child."""
        if self._process != os.getpid():
            raise ForkedError(f"{self._what} belongs to the process that this one was forked from; {_WAY_OUT}")
        if not self._pointer:
            raise ClosedError(f"{self._what} is closed; load the model again")

    def take(self) -> int:
        """The pointer, to be freed by the caller: once. 0 from then on, and in a forked child, which owns nothing."""
        pointer = self._pointer if self.is_open else 0
        self._pointer = 0
        return pointer


@dataclass(slots=True)
class _Workers:
    """What computes for a process beside the thread that asks: other threads, a GPU. `exist` once they were used."""

    process: int
    exist: bool


_workers = _Workers(os.getpid(), exist=False)


def require_own_workers(n_threads: int = 1, *, elsewhere: bool = False) -> None:
    """To be called before a model is loaded or a context made. Raises `ForkedError` in a child that cannot compute.

    The threads of OpenMP and the connections to a GPU and `elsewhere`, to other machines, do not come along in a fork,
    and cannot be made again.
    """
    if _workers.process != os.getpid() and _workers.exist:
        raise ForkedError(f"this process was forked from one in which llama.cpp has computed; {_WAY_OUT}")
    _workers.process = os.getpid()
    _workers.exist |= n_threads > 1 or elsewhere or library.has_gpu()
