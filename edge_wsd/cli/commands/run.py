"""`edge-wsd run "How do I list files by size?"`: one answer."""

from __future__ import annotations

import shutil
import sys
from typing import Any

import click

from edge_wsd.cli.event_lines import EventCommand, event_object, json_stream_option
from edge_wsd.cli.main import INTERRUPTED
from edge_wsd.cli.options import GIVEN, PER_MODEL_NOTE, reply_options
from edge_wsd.cli.pair_choice import PairChoice, pair_options
from edge_wsd.cli.ui.answer import Answer
from edge_wsd.cli.ui.guard import print_json
from edge_wsd.cli.ui.paint import Painter, Style, aside, style_options
from edge_wsd.cli.ui.status import reply_object, status_lines
from edge_wsd.cli.ui.terminal import is_terminal
from edge_wsd.cli.ui.texts import checked, piped_text, read_conversation, read_stdin, system_option
from edge_wsd.cli.warnings import quiet_option
from edge_wsd.decoding.options import Options
from edge_wsd.demo.examples import DEMO_NOTE, DEMO_WARNING
from edge_wsd.errors import EdgeWsdError
from edge_wsd.models.pairs.known import known_pairs


@click.command(cls=EventCommand, epilog=PER_MODEL_NOTE)
@click.argument("words", nargs=-1, metavar="[PROMPT... | -]")
@system_option
@click.option(
    "--messages",
    metavar="FILE",
    help='A whole conversation instead of PROMPT: a JSON list of {"role", "content"}, or a file written by /save. '
    "If it ends with an assistant message, that message is continued.",
)
@click.option("--json", "as_object", is_flag=True, help="Print one JSON object: text, switch, tokens, stats and more.")
@json_stream_option
@style_options
@quiet_option
@reply_options
@pair_options
@click.pass_context
def command(
    context: click.Context,
    *,
    words: tuple[str, ...],
    system: str | None,
    messages: str | None,
    as_object: bool,
    as_stream: bool,
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
        raise EdgeWsdError("stdout is closed, so the answer cannot be written")
    if as_object and as_stream:
        raise click.UsageError("give either --json or --json-stream, not both")
    conversation, question, saved = what_to_answer(prompt_of(words), messages, system, quiet=quiet)
    if saved is not None:
        options = saved.with_changes(**context.meta[GIVEN])
    if not quiet:
        _hint_at_pair(words, context)
    if pair_choice.is_demo and not quiet:
        aside(DEMO_NOTE)
        aside(DEMO_WARNING)
    with pair_choice.open(quiet=quiet) as pair:
        if not quiet:
            pair_choice.warn(pair)
        session = pair.session(system=system, options=options, messages=conversation)
        is_read = not as_object and not as_stream
        painter = Painter(sys.stdout, style, raw=not is_terminal(sys.stdout)) if is_read else None
        hears = (lambda event: print_json(event_object(event))) if as_stream else None
        answer = Answer(session, painter, quiet=quiet, hears=hears)
        answer.write(question)
    if answer.reply is not None and as_object:
        print_json(reply_object(answer.reply))
    if answer.reply is not None and not quiet:
        for line in status_lines(answer.reply, options, shutil.get_terminal_size().columns):
            aside(line)
        if answer.reply.note is not None:
            aside(f"{answer.reply.note}; --no-stop-loops lets it go on")
    if answer.interrupted:
        context.exit(INTERRUPTED)


def _hint_at_pair(words: tuple[str, ...], context: click.Context) -> None:
    """Other programs take a model's name before the question."""
    is_chosen = any(context.params[name] is not None for name in ("pair", "drafter"))
    if len(words) > 1 and not is_chosen and words[0] in known_pairs():
        aside(f"{words[0]} is taken as a word of the question; --pair {words[0]} chooses that pair")


def prompt_of(words: tuple[str, ...]) -> str | None:
    """The question, if one was given: its words may stand without quotes."""
    return " ".join(words) if words else None


def what_to_answer(
    prompt: str | None, messages: str | None, system: str | None, *, quiet: bool
) -> tuple[list[dict[str, Any]], str | None, Options | None]:
    """The messages so far; the next question, None if the messages hold it; options that were saved with them."""
    if messages is not None:
        if prompt is not None:
            raise click.UsageError("give either PROMPT or --messages FILE, not both")
        conversation, saved = read_conversation(messages)
        if system is not None and any(message["role"] == "system" for message in conversation):
            if saved is None:
                raise click.UsageError(f"{messages} holds a system message, so --system is not possible")
            conversation = conversation[1:]  # as `chat --load` does it
        return conversation, None, saved
    if prompt is None and (sys.stdin is None or is_terminal(sys.stdin)):
        raise click.UsageError("PROMPT is missing; give it as an argument or on stdin")
    if prompt is None or prompt == "-":
        return [], read_stdin(), None
    question = checked(prompt, "the prompt")
    text = piped_text(quiet=quiet)
    return [], f"{text}\n\n{question}" if text else question, None
