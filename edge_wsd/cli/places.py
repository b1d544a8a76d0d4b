"""Where the command line keeps files of its own."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def user_data_dir() -> Path:
    """The folder for a user's data by the platform's custom. It may not exist yet."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "edge-wsd"
    if os.name == "nt":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "edge-wsd"
    named = os.environ.get("XDG_DATA_HOME", "")
    return (Path(named) if os.path.isabs(named) else Path.home() / ".local" / "share") / "edge-wsd"


def private_file(name: str) -> Path | None:
    """A file in the user's data folder that only the user can read; None if it cannot be written or is none."""
    path = user_data_dir() / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NONBLOCK", 0)  # a pipe is not waited for
        os.close(os.open(path, flags, 0o600))
    except (OSError, RuntimeError):  # RuntimeError: there is no home folder
        return None
    return path if path.is_file() else None
