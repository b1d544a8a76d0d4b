"""What every prompt template does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from edge_wsd.prompts.messages import Message
from edge_wsd.prompts.tools import Tool


class Template(Protocol):
    """Turns a conversation into the text that a model continues."""

    @property
    def name(self) -> str:
        """For error messages: a word, or the name of a file."""

    @property
    def stops(self) -> tuple[str, ...]:
        """Texts that end a reply because they begin the next message."""

    @property
    def parses_special(self) -> bool:
        """Whether texts such as <|im_start|> in the rendered prompt stand for the special tokens of that name."""

    def render(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> str:
        """The prompt. It ends where the assistant's answer begins or, if the last message is the assistant's, with
        that message, left open for the model to continue. Raises `TemplateError`, also if it cannot show the tools.
        """
