"""The folders of this program in a user's home, where the platform's custom has them.

Each function raises RuntimeError for a user without a home, as services and containers may have one.
"""

from __future__ import annotations

from pathlib import Path

from platformdirs import PlatformDirs

_FOLDERS = PlatformDirs("edge-wsd", appauthor=False, opinion=False)


def data_folder() -> Path:
    """For what the user made or fetched: models, the history of `chat`."""
    return _whole(_FOLDERS.user_data_path)


def config_folder() -> Path:
    """For what the user may edit."""
    return _whole(_FOLDERS.user_config_path)


def cache_folder() -> Path:
    """For what can be made again."""
    return _whole(_FOLDERS.user_cache_path)


def _whole(path: Path) -> Path:
    if not path.is_absolute():  # `~` that nothing was found for
        raise RuntimeError(f"{path} is not an absolute path")
    return path
