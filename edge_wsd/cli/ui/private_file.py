"""Files that the command line keeps for one user alone."""

from __future__ import annotations

import os
from pathlib import Path

from edge_wsd.user_folders import data_folder


def private_file(name: str) -> Path | None:
    """A file in the user's data folder that only the user can read; None if it cannot be written or is none."""
    try:
        path = data_folder() / name
        path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NONBLOCK", 0)  # a pipe is not waited for
        os.close(os.open(path, flags, 0o600))
    except (OSError, RuntimeError):  # RuntimeError: there is no home folder
        return None
    return path if path.is_file() else None
