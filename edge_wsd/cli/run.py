"""`edge-wsd run "How do I list files by size?"`: one answer."""

from __future__ import annotations

import json
import shutil
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from edge_wsd.cli.interruptible import Interruptible
from edge_wsd.cli.main import INTERRUPTED
from edge_wsd.cli.options import PER_MODEL_NOTE, SectionCommand, reply_options
from edge_wsd.cli.paint import DIM, RESET, Painter, Style, style_options
from edge_wsd.cli.pair_choice import DEMO_NOTE, PairChoice, pair_options
from edge_wsd.cli.status import as_json, status_lines
from edge_wsd.cli.terminal import colours_wanted, is_terminal
from edge_wsd.cli.texts import checked, piped_text, read_messages, read_stdin
from edge_wsd.decoding.events import Dropped, Event, Finished, Reply, Token
from edge_wsd.decoding.options import Options
from edge_wsd.errors import EdgeWsdError

if TYPE_CHECKING:
    from edge_wsd.session import Session


@click.command(cls=SectionCommand, epilog=PER_MODEL_NOTE)
@click.argument("prompt", required=False, metavar="[PROMPT | -]")
@click.option("--system", metavar="TEXT", help="What both models are told first.")
@click.option(
    "--messages",
    metavar="FILE",
    help='A whole conversation instead of PROMPT: a JSON list of {"role", "content"}. '
    "If it ends with an assistant message, that message is continued.",
)
@click.option("--json", "as_object", is_flag=True, help="Print one JSON object: text, switch, tokens, stats.")
@style_options
@click.option("-q", "--quiet", is_flag=True, help="Nothing on stderr but errors.")
@reply_options
@pair_options
def command(
    *,
    prompt: str | None,
    system: str | None,
    messages: str | None,
    as_object: bool,
    style: Style,
    quiet: bool,
    options: Options,
    pair_choice: PairChoice,
) -> None:
    """Write one answer to PROMPT, or to the text on stdin. With both, the text comes first, then PROMPT.

    \b
    edge-wsd run "How do I list files by size?"
    git diff | edge-wsd run "Describe this change."
    """
    if sys.stdout is None:
        raise EdgeWsdError("stdout is closed, so the answer has nowhere to go")
    conversation, question = _what_to_answer(prompt, messages, system, quiet=quiet)
    if pair_choice.is_demo and not quiet:
        _aside(DEMO_NOTE)
    with pair_choice.open() as pair:
        if not quiet:
            pair_choice.warn(pair)
        session = pair.session(system=system, options=options, messages=conversation)
        answer = _Answer(session, style, as_object=as_object)
        answer.write(question)
    if answer.reply is not None and not quiet:
        for line in status_lines(answer.reply, options, shutil.get_terminal_size().columns):
            _aside(line)
    if answer.interrupted:
        click.get_current_context().exit(INTERRUPTED)


def _what_to_answer(
    prompt: str | None, messages: str | None, system: str | None, *, quiet: bool
) -> tuple[list[dict[str, Any]], str | None]:
    """The messages so far and the next question; None if the messages hold it."""
    if messages is not None:
        if prompt is not None:
            raise click.UsageError("give either PROMPT or --messages FILE, not both")
        conversation = read_messages(messages)
        if system is not None and any(message["role"] == "system" for message in conversation):
            raise click.UsageError(f"{messages} holds a system message, so --system is not possible")
        return conversation, None
    if prompt is None and (sys.stdin is None or is_terminal(sys.stdin)):
        raise click.UsageError("PROMPT is missing; give it as an argument or on stdin")
    if prompt is None or prompt == "-":
        return [], read_stdin()
    question = checked(prompt, "the prompt")
    text = piped_text(quiet=quiet)
    return [], f"{text}\n\n{question}" if text else question


def _aside(line: str) -> None:
    """A line that is not the answer."""
    click.echo(f"{DIM}{line}{RESET}" if colours_wanted(sys.stderr) else line, err=True)


class _Answer:
    """One answer on its way from the session to stdout."""

    def __init__(self, session: Session, style: Style, *, as_object: bool) -> None:
        self._session = session
        self._as_object = as_object
        self._style = style
        self.reply: Reply | None = None
        self.interrupted = False

    def write(self, question: str | None) -> None:
        """Streams the answer, or prints it as one object. Ctrl-C ends it early, and what there is stays."""
        painter = None
        if not self._as_object:
            painter = Painter(sys.stdout, self._style, raw=not is_terminal(sys.stdout))
        work: Interruptible[Event] = Interruptible(lambda: self._session.stream(question), cancel=self._session.cancel)
        try:
            with closing(iter(work)) as events:
                for event in events:
                    self._take(event, painter)
        finally:
            self.interrupted = work.interrupted
            if painter is not None:
                painter.end()
        if self._as_object and self.reply is not None:
            click.echo(json.dumps(as_json(self.reply), ensure_ascii=False, allow_nan=False))

    def _take(self, event: Event, painter: Painter | None) -> None:
        if isinstance(event, Token) and painter is not None:
            painter.write(event.text, event.source)
        elif isinstance(event, Dropped):
            _aside(f"{event.n_messages} of the oldest messages no longer fit and were left out")
        elif isinstance(event, Finished):
            self.reply = event.reply
