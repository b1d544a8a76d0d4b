"""Prompts of an exact number of tokens, and nothing around them: what peers are given, too."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edge_wsd.errors import BenchError
from edge_wsd.prompts.messages import Message
from edge_wsd.prompts.tools import Tool

_PROSE = """The harbour wakes before the town does. By five the first boats have come back, and their catch lies in
grey boxes along the quay, where buyers walk up and down with their hands in their pockets and say little. A woman who
has sold fish here for thirty years puts ice over the herring, and tells a boy what to carry, and where. Above them the
gulls argue about everything. At seven the baker opens, an hour later the school, and then nobody looks at the water any
more, unless a ferry is late. In winter the lamps burn until nine; from the hill the place looks like a necklace that
somebody dropped. My grandfather built half of these boats. He kept a notebook for each of them, with its length, the
wood that went into it, what it had cost and who had paid for it, and on the last page the weather of the day on which
it first went out. Most of them are gone. The notebooks are still in the loft, in the order in which he wrote them, and
whoever reads them learns a good deal about storms and about money."""
_WORDS = tuple(_PROSE.split())
_LETTER = "e"


class BareTemplate:
    """The messages as they are. What is measured is time, so no model needs the format that it was taught."""

    name = "bare"
    parses_special = False
    stops = ()

    def render(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> str:
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
