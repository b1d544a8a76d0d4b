"""A conversation as it was held: questions behind a prompt, answers in the two models' colours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TextIO

from edge_wsd.authorship import Authorship
from edge_wsd.cli.ui.chat_input import CONTINUATION, PROMPT
from edge_wsd.cli.ui.paint import Painter, Style
from edge_wsd.cli.ui.rows import broken
from edge_wsd.cli.ui.status import REASONS
from edge_wsd.cli.ui.terminal import neutralise
from edge_wsd.conversation_file import SavedConversation
from edge_wsd.decoding.events import Source
from edge_wsd.prompts.messages import Message
from edge_wsd.units import counted


def show_transcript(
    out: TextIO,
    messages: Sequence[Message],
    written: Sequence[Authorship | None],
    style: Style,
    *,
    n_columns: int | None,
    raw: bool = False,
    bold: Callable[[str], str] = str,
) -> None:
    """Writes every message, in lines of at most `n_columns`. What is not known to be a model's has no colour. `raw`
    hands texts on as they are, for a file or a pipe."""
    for number, (message, authorship) in enumerate(zip(messages, written, strict=True)):
        if message.role != "assistant":
            out.write("\n" if number else "")
            for line in said_lines(message.content, n_columns):
                out.write(f"{bold(line)}\n")
        elif authorship is None:
            out.write(f"{message.content if raw else neutralise(message.content)}\n")
        else:
            _show_answer(out, authorship, Painter(out, style, wrap=n_columns is not None, raw=raw))
    out.flush()


def said_lines(text: str, n_columns: int | None) -> list[str]:
    """A question behind the prompt that it is typed at."""
    lines: list[str] = []
    for number, line in enumerate(neutralise(text).split("\n")):
        room = None if n_columns is None else n_columns - len(PROMPT)
        for part in [line] if room is None else broken(line, room):
            lines.append(f"{CONTINUATION if number or lines else PROMPT}{part}")
    return lines


def switch_text(authorship: Authorship) -> str:
    """How an answer came about, in one line: its pair, its switch, its seed."""
    switch, parts = authorship.switch, [authorship.pair] if authorship.pair else []
    if switch is not None:
        figure = "" if switch.confidence is None else f", confidence {switch.confidence:.2f}"
        parts.append(f"switch after {counted(switch.index + 1, 'tokens')} ({REASONS[switch.reason]}{figure})")
    if authorship.seed is not None:
        parts.append(f"seed {authorship.seed}")
    return " \u00b7 ".join(parts)


def _show_answer(out: TextIO, authorship: Authorship, painter: Painter) -> None:
    for span in authorship.spans:
        source: Source | None = None if span.author == "given" else span.author
        painter.write(span.text, source)
    painter.end()


def markdown(title: str, kept: SavedConversation) -> str:
    """The conversation as a document. Below each answer stands who wrote which part of it."""
    parts = [f"# {title}"]
    if kept.system is not None:
        parts += ["**System**", kept.system]
    for message, authorship in zip(kept.messages, kept.written, strict=True):
        parts += ["## You" if message.role == "user" else "## Answer", message.content]
        if authorship is not None:
            parts.append(_authors(authorship))
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _authors(authorship: Authorship) -> str:
    """`> drafter: "Sure, I can"; base: " help." to the end · demo · switch after 3 tokens`."""
    spans = [f"{span.author}: `{_ends(span.text)}`" for span in authorship.spans]
    about = switch_text(authorship)
    return f"> {'; '.join(spans)}{' · ' if about else ''}{about}"


def _ends(text: str) -> str:
    """A text by its first words and its last, where both do not fit."""
    text = " ".join(text.split()).replace("`", "'")
    return text if len(text) <= 60 else f"{text[:38]} … {text[-18:]}"
