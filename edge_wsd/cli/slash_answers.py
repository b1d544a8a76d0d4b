"""Slash commands about answers: again, back, side by side, elsewhere."""

from __future__ import annotations

from functools import partial
from typing import get_args

import click

from edge_wsd.cli.chat import Chat
from edge_wsd.cli.slash_command import CommandError
from edge_wsd.cli.ui.clipboard import copy
from edge_wsd.cli.ui.terminal_state import keys_seen
from edge_wsd.cli.ui.texts import checked
from edge_wsd.decoding.options import Mode

_HEADINGS: dict[Mode, str] = {
    "drafter": "the drafter alone",
    "base": "the base alone",
    "wsd": "both: the drafter begins, the base finishes",
}
assert set(_HEADINGS) == set(get_args(Mode))


def regen(chat: Chat, _rest: str) -> None:
    """Writes the last answer again, or the one that a killed program did not come to."""
    if chat.unanswered is not None:
        chat.answer(chat.session.stream)
        return
    if chat.would_repeat():
        options = chat.session.options
        fixed = "at temperature 0" if options.temperature == 0 else f"with the seed {options.seed}"
        way = "/set temperature 0.7" if options.temperature == 0 else "/set seed none"
        chat.screen.note(f"{fixed} the answer stays the same; {way} brings others")
    chat.answer(chat.session.regenerate)


def undo(chat: Chat, _rest: str) -> None:
    """Takes the last question and its answer back."""
    taken = chat.session.undo()
    chat.screen.note(f"taken back: {_shortened(taken[0].content)}")


def compare(chat: Chat, rest: str) -> None:
    """Answers one question three times, in conversations of their own; nothing of it stays in this one."""
    question = checked(rest, "the question") if rest else None
    if question is None and not chat.session.messages:
        raise CommandError("nothing has been asked yet; type /compare QUESTION")
    for mode, heading in _HEADINGS.items():
        fork = chat.session.fork()
        fork.options = fork.options.with_changes(mode=mode)
        again = fork.stream if chat.unanswered is not None else fork.regenerate
        if mode != "drafter":
            chat.screen.space()
        chat.screen.heading(heading)
        reply = chat.show(fork, again if question is None else partial(fork.stream, question))
        if reply is None or reply.finish_reason == "cancelled":
            return


def copy_last(chat: Chat, _rest: str) -> None:
    """Puts the last answer into the clipboard."""
    answers = [message.content for message in chat.session.messages if message.role == "assistant"]
    if not answers:
        raise CommandError("there is no answer to copy yet")
    chat.screen.note(f"the last answer, {len(answers[-1])} characters, went to {copy(answers[-1])}")


def edit(chat: Chat, rest: str) -> None:
    """Has a message written in $EDITOR, and asks it; the last one, in its place, with `last`."""
    if not chat.interactive:
        raise CommandError("/edit opens $EDITOR, which needs a terminal")
    if rest == "last" and not any(message.role == "user" for message in chat.session.messages):
        raise CommandError("nothing has been asked yet; /edit alone begins with an empty text")
    messages = chat.session.messages
    last = next((message.content for message in reversed(messages) if message.role == "user"), "")
    with keys_seen():
        text = click.edit(last if rest == "last" else rest, extension=".md")
    if text is None or not text.strip():
        chat.screen.note("nothing was saved in the editor, so nothing is asked")
        return
    if rest == "last":
        chat.session.undo()
    chat.screen.said(text.strip())
    chat.ask(text.strip())


def _shortened(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 60 else f"{text[:57]}..."
