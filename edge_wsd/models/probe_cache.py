"""Remembers which model files llama.cpp has loaded before, in the user's cache directory."""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path

from edge_wsd.files import write_atomically
from edge_wsd.reading import parse_json, read_bounded

_LOG = logging.getLogger(__name__)
_FORMAT = 1
_MOST_ENTRIES = 500
_MOST_BYTES = 8 << 20
CACHE_VARIABLE = "EDGE_WSD_CACHE"


def cache_directory() -> Path:
    """Where this program may keep what it can make again: `$EDGE_WSD_CACHE`, else what the system provides."""
    given = os.environ.get(CACHE_VARIABLE)
    if given:
        return Path(given)
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "edge-wsd"


class ProbeCache:
    """A JSON file of paths and stamps. A damaged or unwritable one costs a probe, never an answer."""

    def __init__(self, path: Path | None = None) -> None:
        """`path` None: `probed-models.json` in `cache_directory()`."""
        self.path = cache_directory() / "probed-models.json" if path is None else path

    def holds(self, model: Path, stamp: str) -> bool:
        return self._read().get(str(model)) == stamp

    def add(self, model: Path, stamp: str) -> None:
        """The oldest entries make room. If the file cannot be written, a warning is logged."""
        entries = self._read()
        entries.pop(str(model), None)
        entries[str(model)] = stamp
        kept = dict(list(entries.items())[-_MOST_ENTRIES:])
        try:
            self._write(json.dumps({"format": _FORMAT, "models": kept}, indent=1))
        except OSError as error:
            _LOG.warning("%s cannot be written (%s): models will be probed again", self.path, error)

    def _read(self) -> dict[str, str]:
        try:
            content = parse_json(read_bounded(self.path, _MOST_BYTES))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            _LOG.warning("%s is ignored: %s", self.path, error)
            return {}
        if not isinstance(content, dict) or content.get("format") != _FORMAT:
            return {}
        models = content.get("models")
        if not isinstance(models, dict):
            return {}
        return {key: value for key, value in models.items() if isinstance(value, str)}

    def _write(self, text: str) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path, text.encode())
