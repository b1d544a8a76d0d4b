"""Remembers which model files llama.cpp has loaded before, in the user's cache directory."""

from __future__ import annotations

from pathlib import Path

from edge_wsd.remembered import Remembered, cache_directory


class ProbeCache:
    """Paths and stamps. A damaged or unwritable file costs a probe, never an answer."""

    def __init__(self, path: Path | None = None) -> None:
        """`path` None: `probed-models.json` in the cache directory."""
        self.path = cache_directory() / "probed-models.json" if path is None else path
        self._stamps = Remembered(self.path, "models", most=500, otherwise="models will be probed again")

    def holds(self, model: Path, stamp: str) -> bool:
        return self._stamps.get(str(model)) == stamp

    def add(self, model: Path, stamp: str) -> None:
        """The oldest entries make room."""
        self._stamps.put(str(model), stamp)
