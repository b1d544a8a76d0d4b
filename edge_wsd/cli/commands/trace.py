"""`edge-wsd trace "How do I list files by size?"`: how an answer came about, token by token."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator

import click

from edge_wsd.cli.commands.run import prompt_of, what_to_answer
from edge_wsd.cli.main import INTERRUPTED
from edge_wsd.cli.options import PER_MODEL_NOTE, reply_options
from edge_wsd.cli.pair_choice import PairChoice, pair_options
from edge_wsd.cli.sections import SectionCommand
from edge_wsd.cli.ui.answer import Answer
from edge_wsd.cli.ui.paint import aside
from edge_wsd.cli.ui.rows import columns_of_stdout, table_lines
from edge_wsd.cli.ui.status import REASONS, status_lines
from edge_wsd.cli.ui.texts import system_option
from edge_wsd.decoding.events import Reply, Token
from edge_wsd.decoding.options import Options

_HEADINGS = ("#", "token", "by", "probability", "confidence", "note")
_WORDS = (1, 2, 5)


@click.command(cls=SectionCommand, epilog=PER_MODEL_NOTE)
@click.argument("words", nargs=-1, metavar="[PROMPT | -]")
@system_option
@click.option("-q", "--quiet", is_flag=True, help="Nothing on stderr but errors.")
@reply_options
@pair_options
@click.pass_context
def command(
    context: click.Context,
    *,
    words: tuple[str, ...],
    system: str | None,
    quiet: bool,
    options: Options,
    pair_choice: PairChoice,
) -> None:
    """Answer PROMPT, or the text on stdin, and show every token: who wrote it, and what the base thinks of it.

    Probabilities are the base's; the confidence is that of the window ending at the token. The token at which the
    base takes over is marked, and with --ignore-repeated those that were left out of the confidence.
    `edge-wsd run --json` has the same for programs.
    """
    conversation, question, _ = what_to_answer(prompt_of(words, "trace"), None, system, quiet=quiet)
    with pair_choice.open(quiet=quiet) as pair:
        if not quiet:
            pair_choice.warn(pair)
        answer = Answer(pair.session(system=system, options=options, messages=conversation), None, quiet=quiet)
        answer.write(question)
    if answer.reply is not None:
        for line in table_lines([_HEADINGS, *_rows(answer.reply)], columns_of_stdout(), words=_WORDS):
            click.echo(line)
        if not quiet:
            if answer.reply.note is not None:
                aside(f"{answer.reply.note}; --no-stop-loops lets it go on")
            for line in status_lines(answer.reply, options, shutil.get_terminal_size().columns):
                aside(line)
    if answer.interrupted:
        context.exit(INTERRUPTED)


def _rows(reply: Reply) -> Iterator[tuple[str, ...]]:
    for n, (token, confidence) in enumerate(zip(reply.tokens, reply.confidences, strict=True)):
        text = json.dumps(token.text, ensure_ascii=False)
        probability = "" if token.logprob is None else _figure(math.exp(token.logprob))
        yield str(n + 1), text, token.source, probability, _figure(confidence), _note(reply, n, token)


def _note(reply: Reply, n: int, token: Token) -> str:
    if reply.switch is not None and n == reply.switch.index:
        return f"switch: {REASONS[reply.switch.reason]}"
    if n == len(reply.tokens) - 1 and reply.note is not None:
        return reply.note.partition(":")[0]  # the whole would leave other columns no space
    return "repeated" if token.repeated else ""


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
