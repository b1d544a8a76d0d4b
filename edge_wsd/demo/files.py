"""Where the weights of the demonstration pair lie."""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).resolve().parent


def drafter_path() -> Path:
    """The aligned drafter; its vocabulary is the base's."""
    return _HERE / "drafter.gguf"


def base_path() -> Path:
    """The unaligned base."""
    return _HERE / "base.gguf"


def other_drafter_path() -> Path:
    """An aligned drafter with a vocabulary of its own: its drafts reach the base as text."""
    return _HERE / "drafter-other.gguf"
