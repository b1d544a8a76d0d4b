"""What this program found out and need not find out again, in the user's cache directory."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

from edge_wsd.files import write_atomically
from edge_wsd.reading import parse_json, read_bounded
from edge_wsd.redaction import logger_without_secrets
from edge_wsd.user_folders import cache_folder

_LOG = logger_without_secrets(__name__)
_FORMAT = 1
_MOST_BYTES = 8 << 20
CACHE_VARIABLE = "EDGE_WSD_CACHE"


def cache_file(name: str) -> Path | None:
    """The file of this name in the user's cache directory; None for a user who has none, nor a home."""
    try:
        return cache_directory() / name
    except RuntimeError:
        return None


def cache_directory() -> Path:
    """Where this program may keep what it can make again: `$EDGE_WSD_CACHE`, else what the system provides.

    Raises RuntimeError where there is no home folder.
    """
    given = os.environ.get(CACHE_VARIABLE)
    return Path(given) if given else cache_folder()


class DiskCache:
    """Texts by key in a JSON file. One that is damaged or cannot be written costs work, never an answer.

    Without a path nothing is remembered.
    """

    def __init__(
        self, path: Path | None, kind: str, *, most: int, otherwise: str, log_level: int = logging.WARNING
    ) -> None:
        """`kind` names the entries in the file, of which there are at most `most`; the oldest make room.

        `otherwise` says in the log what comes of a file that cannot be written.
        """
        self.path, self._kind, self._most, self._otherwise = path, kind, most, otherwise
        self._log_level = log_level

    def get(self, key: str) -> str | None:
        """What was remembered under `key`; None if nothing was."""
        return self._read().get(key)

    def put(self, key: str, value: str) -> None:
        """If the file cannot be written, that is logged."""
        if self.path is None:
            return
        entries = self._read()
        entries.pop(key, None)
        entries[key] = value
        kept = dict(list(entries.items())[-self._most :])
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self.path, json.dumps({"format": _FORMAT, self._kind: kept}, indent=1).encode())
        except OSError as error:
            _LOG.log(self._log_level, "%s cannot be written (%s): %s", self.path, error, self._otherwise)

    def _read(self) -> dict[str, str]:
        if self.path is None:
            return {}
        try:
            content = parse_json(read_bounded(self.path, _MOST_BYTES))
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except (OSError, ValueError) as error:
            _LOG.log(self._log_level, "%s is ignored: %s", self.path, error)
            return {}
        if not isinstance(content, dict) or content.get("format") != _FORMAT:
            return {}
        entries = content.get(self._kind)
        if not isinstance(entries, dict):
            return {}
        return {key: value for key, value in entries.items() if isinstance(value, str)}
