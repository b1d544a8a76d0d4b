"""Whether a running program has a model file in memory, where the system lets one see that."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

_PROCESSES = Path("/proc")


def process_that_maps(paths: Iterable[Path]) -> int | None:
    """The number of a process that has one of these files mapped into its memory; None if none is seen.

    Sees the user's own processes on Linux. Windows itself refuses to delete such a file; elsewhere a deleted file
    stays readable for those who have it open.
    """
    wanted = {os.path.realpath(path) for path in paths if path.suffix == ".gguf"}
    if not wanted or not _PROCESSES.is_dir():
        return None
    for folder in _PROCESSES.iterdir():
        if folder.name.isdigit() and _maps_any(folder / "maps", wanted):
            return int(folder.name)
    return None


def _maps_any(maps: Path, wanted: set[str]) -> bool:
    try:
        lines = maps.read_text(errors="surrogateescape").splitlines()
    except OSError:  # another user's, or it has ended
        return False
    return any(line.split(maxsplit=5)[5:] and line.split(maxsplit=5)[5] in wanted for line in lines)
