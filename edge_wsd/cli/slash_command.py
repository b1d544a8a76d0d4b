"""What a slash command of `chat` is, and what its functions have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edge_wsd.cli.chat import Chat
from edge_wsd.cli.typed_path import typed_path
from edge_wsd.errors import EdgeWsdError

FORCE = "--force"


class CommandError(EdgeWsdError):
    """A slash command that does not exist or was given something it cannot use."""


@dataclass(frozen=True)
class SlashCommand:
    """One command. `act` gets the conversation and what stands behind the name."""

    usage: str
    meaning: str
    act: Callable[[Chat, str], None]
    takes: Literal["nothing", "text", "file", "target", "option", "switch", "pair", "session"] = "nothing"
    """A target is a file to be written, behind `FORCE` perhaps."""


def given_file(rest: str, usage: str) -> Path:
    """The file that is named, else `CommandError`."""
    if not rest:
        raise CommandError(f"a file is missing: {usage}")
    return typed_path(rest)
