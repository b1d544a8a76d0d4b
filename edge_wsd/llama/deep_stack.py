"""A call with as much stack as it needs, from whatever thread it is made.

llama.cpp cuts text for many vocabularies with `std::regex`, which recurses once per character of a match.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

MAX_STACK_BYTES = 1 << 30
"""Only what is used of it takes memory, but a machine may refuse more."""
_PAGE_BYTES = 1 << 16  # the largest page of the machines in use; stacks are whole pages
_SMALLEST_STACK_BYTES = 1 << 20
_stack_size = threading.Lock()  # the size of new threads' stacks is one number for the whole process


def call_with_stack(n_bytes: int, function: Callable[[], T]) -> T:
    """What `function` returns or raises, called in a thread with a stack of `n_bytes`. Raises `MemoryError`.

    It is waited for even when Ctrl-C comes: what it works on must not be freed meanwhile.
    """
    results: list[T] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            results.append(function())
        except BaseException as error:  # raised again in the thread that asked
            failures.append(error)

    thread = _started(run, n_bytes)
    interrupts: list[KeyboardInterrupt] = []
    while thread.is_alive():
        try:
            thread.join()
        except KeyboardInterrupt as interrupt:
            interrupts.append(interrupt)
    for error in (*interrupts, *failures):
        raise error
    return results[0]


def _started(run: Callable[[], None], n_bytes: int) -> threading.Thread:
    pages = -(-max(n_bytes, _SMALLEST_STACK_BYTES) // _PAGE_BYTES)
    thread = threading.Thread(target=run, name="edge-wsd deep stack", daemon=True)
    with _stack_size:
        before = threading.stack_size(pages * _PAGE_BYTES)
        try:
            thread.start()
        except RuntimeError as error:
            raise MemoryError(f"no thread with a stack of {pages * _PAGE_BYTES >> 20} MiB can be started") from error
        finally:
            threading.stack_size(before)
    return thread
