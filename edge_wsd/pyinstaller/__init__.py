"""Hooks for PyInstaller, which finds this folder by the entry point `pyinstaller40`. There is none for llama_cpp."""

from __future__ import annotations

from pathlib import Path


def hook_folders() -> list[str]:
    """Where the hooks are."""
    return [str(Path(__file__).parent)]
