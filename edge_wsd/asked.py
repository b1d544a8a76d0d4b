"""What a pair is asked for, and what comes back at once: the two ends of a turn, wherever the models live."""

from __future__ import annotations

from dataclasses import dataclass

from edge_wsd.decoding.options import Options
from edge_wsd.engine.stream import Stream
from edge_wsd.prompts.messages import Message


@dataclass(frozen=True, slots=True)
class Asked:
    """A conversation to be answered. A final assistant message is continued."""

    system: str | None
    messages: tuple[Message, ...]
    options: Options

    @property
    def before(self) -> list[Message]:
        """The system prompt as messages: one or none."""
        return [] if self.system is None else [Message("system", self.system)]


@dataclass(frozen=True, slots=True)
class Begun:
    """A reply that is being written, and how many of the oldest messages did not fit and were left out."""

    stream: Stream
    n_dropped: int = 0
