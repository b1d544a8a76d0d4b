"""What a pair is asked for, and what comes back at once: the two ends of a turn, wherever the models live."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edge_wsd import checks
from edge_wsd.decoding.options import Options
from edge_wsd.engine.stream import Stream
from edge_wsd.prompts.messages import Message
from edge_wsd.prompts.tools import Tool


@dataclass(frozen=True, slots=True)
class Asked:
    """A conversation to be answered. A final assistant message is continued."""

    system: str | None
    messages: tuple[Message, ...]
    options: Options
    tools: tuple[Tool, ...] = ()

    @property
    def before(self) -> list[Message]:
        """The system prompt as messages: one or none."""
        return [] if self.system is None else [Message("system", self.system)]


RawPrompt = str | Sequence[int]
"""A text as it stands, or token ids of the model that finishes the reply."""


@dataclass(frozen=True, slots=True)
class AskedText:
    """A text to be written on, or scored, without a template. Raises `OptionError` for what is neither text nor ids."""

    prompt: RawPrompt
    options: Options
    scores_prompt: bool = False
    """Whether the log-probabilities of its own tokens are wanted."""
    writes: bool = True
    """Whether something is to be written behind it."""

    def __post_init__(self) -> None:
        given: object = self.prompt
        if isinstance(given, str):
            checks.require(checks.half_character_at(given) is None, "prompt", "made of whole characters", given)
            return
        is_list = isinstance(given, Sequence) and not isinstance(given, bytes) and len(given) > 0
        whole = is_list and all(isinstance(token, int) and not isinstance(token, bool) for token in self.prompt)
        checks.require(whole, "prompt", "a text or a list of token ids", given)
        object.__setattr__(self, "prompt", tuple(self.prompt))  # so that nobody changes it meanwhile


@dataclass(frozen=True, slots=True)
class Begun:
    """A reply that is being written, and how many of the oldest messages did not fit and were left out."""

    stream: Stream
    n_dropped: int = 0
