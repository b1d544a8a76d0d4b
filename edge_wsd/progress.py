"""How far work has come, as those who wait for it are told."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int], None]
"""Called with how much is done, and all there is: bytes, tokens or texts. May raise to end the work."""
StageProgress = Callable[[str, int, int], None]
"""The same of work in several stages; the name of the stage comes first."""


def no_progress(_what: str, _done: int, _total: int) -> None:
    """For whom nobody waits."""
