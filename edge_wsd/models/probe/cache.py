"""Remembers which model files llama.cpp has loaded before, in the user's cache directory."""

from __future__ import annotations

from pathlib import Path

from edge_wsd.disk_cache import DiskCache, cache_file


class ProbeCache:
    """Stamps by model. A damaged or unwritable file costs a probe, never an answer."""

    def __init__(self, path: Path | None = None) -> None:
        """`path` None: `probed-models.json` in the cache directory."""
        self.path = cache_file("probed-models.json") if path is None else path
        self._stamps = DiskCache(self.path, "models", most=500, otherwise="models will be probed again")

    def holds(self, model: str, stamp: str) -> bool:
        return self._stamps.get(model) == stamp

    def add(self, model: str, stamp: str) -> None:
        """`model` is its path, and what it was used with. The oldest entries make room."""
        self._stamps.put(model, stamp)
