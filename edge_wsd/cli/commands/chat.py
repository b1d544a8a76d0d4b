"""`edge-wsd chat`: a conversation in the terminal, line by line."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from edge_wsd import __version__
from edge_wsd.cli import chat_commands
from edge_wsd.cli.chat import Chat
from edge_wsd.cli.main import debug_wanted, explained, show_traceback
from edge_wsd.cli.options import GIVEN, PER_MODEL_NOTE, reply_options
from edge_wsd.cli.pair_choice import PairChoice, demo_remarks, pair_options
from edge_wsd.cli.sections import SectionCommand
from edge_wsd.cli.ui.chat_input import LineReader, LineSource, without_quotes
from edge_wsd.cli.ui.paint import Style, style_options
from edge_wsd.cli.ui.screen import screen_for
from edge_wsd.cli.ui.terminal import is_dumb, is_terminal, one_line
from edge_wsd.cli.ui.texts import system_option
from edge_wsd.decoding.options import Options
from edge_wsd.errors import EdgeWsdError


@click.command(cls=SectionCommand, epilog=PER_MODEL_NOTE)
@system_option
@click.option("--load", metavar="FILE", help="Go on with a conversation saved by /save.")
@style_options
@click.option("-q", "--quiet", is_flag=True, help="No greeting and no status lines.")
@reply_options
@pair_options
@click.pass_context
def command(
    context: click.Context,
    *,
    system: str | None,
    load: str | None,
    style: Style,
    quiet: bool,
    options: Options,
    pair_choice: PairChoice,
) -> None:
    """Hold a conversation in the terminal: the drafter's words in one colour, the base's in another.

    /help shows the commands inside, Ctrl-C stops an answer, Ctrl-D leaves. When stdin is not a
    terminal, each of its lines is one message or command.
    """
    interactive = is_terminal(sys.stdin) and is_terminal(sys.stdout)
    if sys.stdout is None or sys.stderr is None:
        raise EdgeWsdError("stdout or stderr is closed, so the conversation cannot be shown")
    screen = screen_for(style, interactive=interactive)
    with pair_choice.open(quiet=quiet) as pair:
        chat = Chat(pair, screen, options, system, interactive=interactive)
        chat.given = dict(context.meta[GIVEN])
        chat.quiet, chat.shows_status = quiet, not quiet
        chat.shows_tracebacks = debug_wanted(context)
        chat.defaults = pair_choice.defaults
        if pair_choice.is_demo:
            chat.remarks = demo_remarks()
        if load is not None:
            chat.load(Path(load))
        if not quiet:
            pair_choice.warn(pair)
            screen.greet([f"edge-wsd {__version__}", *(chat.remarks or [one_line(pair_choice.title)])])
            if load is not None:
                screen.note(chat.loaded_note(Path(load)))
                screen.space()
        _hold(chat, _line_source(pair_choice) if interactive else LineReader())


def _line_source(pair_choice: PairChoice) -> LineSource:
    """Of a person: with line editing, if the terminal can do that."""
    if is_dumb():
        return LineReader(prompts=True)
    from edge_wsd.cli.ui.line_editor import LineEditor

    example = [f"{question}  (or /help)" for question in pair_choice.examples[:1]]
    return LineEditor(chat_commands.complete, [*example, "Your question, or /help", "/help"])


def _hold(chat: Chat, source: LineSource) -> None:
    """Until the input ends. An error ends a conversation read from a pipe, but not one with a person."""
    while True:
        try:
            _take(chat, source.read())
        except EOFError:
            return
        except KeyboardInterrupt:
            if not chat.interactive:
                raise
            chat.screen.note("Ctrl-D or /quit leaves")
        except Exception as error:
            if not chat.interactive or isinstance(error, BrokenPipeError):
                raise
            _tell(chat, error)


def _take(chat: Chat, line: str) -> None:
    """A command goes to the table of commands, everything else to the models."""
    if (name_and_rest := chat_commands.split(line)) is not None:
        chat_commands.execute(chat, *name_and_rest)
    else:
        chat_commands.refuse_habits(line)
        chat.ask(without_quotes(line))
    chat.screen.space()


def _tell(chat: Chat, error: Exception) -> None:
    """Whatever went wrong, the conversation is not lost."""
    if chat.shows_tracebacks:
        show_traceback(error)
    else:
        chat.screen.error(explained(error))
    chat.screen.space()
