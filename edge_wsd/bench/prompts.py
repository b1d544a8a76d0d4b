"""Prompts of an exact number of tokens, and nothing around them: what peers are given, too."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edge_wsd.errors import BenchError
from edge_wsd.prompts.messages import Message

_WORDS = ("list", "the", "largest", "files", "in", "every", "folder")
_LETTER = "e"


class BareTemplate:
    """The messages as they are. What is measured is time, so no model needs the format that it was taught."""

    name = "bare"
    parses_special = False
    stops = ()

    def render(self, messages: Sequence[Message]) -> str:
        """The messages' texts, with nothing between them."""
        return "".join(message.content for message in messages)


def messages_of(prompt: str) -> tuple[Message, Message]:
    """A conversation that is rendered as `prompt`. Its last character is the beginning of the answer: at the beginning
    of an answer white space would be dropped, and the first token be split into others.
    """
    return Message("user", prompt[:-1]), Message("assistant", prompt[-1:])


def prompt_of(n_tokens: int, number: int, count: Callable[[str], int]) -> str:
    """A text of `n_tokens` by `count`, or of as many as come closest from below. Other numbers begin otherwise.

    Raises `BenchError` if that is fewer than a text can have.
    """
    text = f"{_WORDS[number % len(_WORDS)]} {number}"
    if count(text) > n_tokens:
        raise BenchError(f"a prompt of {n_tokens} tokens is too short for this vocabulary; try {count(text)} or more")
    words = 0
    while count(text) < n_tokens:
        missing = max(1, (n_tokens - count(text)) // 8)
        text += "".join(f" {_WORDS[(words + at) % len(_WORDS)]}" for at in range(missing))
        words += missing
    while count(text) > n_tokens:
        text = text[:-1].rstrip()
    while count(text) < n_tokens and count(longer := text + _LETTER) <= n_tokens:
        text = longer
    return text
