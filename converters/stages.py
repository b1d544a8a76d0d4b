"""Progress of work in several stages."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with what is done now, how much of it is done, and all of it."""


def no_progress(_what: str, _done: int, _total: int) -> None:
    """For whom nobody waits."""
