"""`edge-wsd chat`: a conversation in the terminal, line by line."""

from __future__ import annotations

import sys
from contextlib import ExitStack, closing
from pathlib import Path

import click

from edge_wsd import __version__
from edge_wsd.cli import chat_commands
from edge_wsd.cli.chat import Chat
from edge_wsd.cli.chat_pair import ChatPair, referred_pair
from edge_wsd.cli.chat_session import ChatSession
from edge_wsd.cli.main import debug_wanted, explained, show_traceback
from edge_wsd.cli.options import GIVEN, PER_MODEL_NOTE, reply_options
from edge_wsd.cli.pair_choice import PairChoice, demo_remarks, pair_options
from edge_wsd.cli.sections import SectionCommand
from edge_wsd.cli.session_names import complete_session
from edge_wsd.cli.ui.chat_input import LineReader, LineSource, message_of
from edge_wsd.cli.ui.paint import Style, style_options
from edge_wsd.cli.ui.screen import screen_for
from edge_wsd.cli.ui.terminal import is_dumb, is_terminal, one_line
from edge_wsd.cli.ui.texts import system_option
from edge_wsd.decoding.options import Options
from edge_wsd.errors import EdgeWsdError
from edge_wsd.sessions.store import KeptSession, SessionStore


@click.command(cls=SectionCommand, epilog=PER_MODEL_NOTE)
@system_option
@click.option(
    "--session",
    "session_name",
    metavar="NAME",
    shell_complete=complete_session,
    help="Keep the conversation under this name after every turn, and go on with it if it is there already.",
)
@click.option(
    "--save-kv/--no-save-kv",
    default=None,
    help="With --session: also keep what both models have in memory, so that it need not be read again.  "
    "[default: as before]",
)
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
    session_name: str | None,
    save_kv: bool | None,
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
    if session_name is None and save_kv is not None:
        raise click.UsageError("--save-kv needs --session NAME")
    screen = screen_for(style, interactive=interactive)
    with ExitStack() as stack:
        kept = None if session_name is None else stack.enter_context(SessionStore().open(session_name))
        if kept is not None and load is not None and kept.conversation is not None:
            raise click.UsageError(f"there is a session {kept.name} already; give --load or --session, or another name")
        choice = _choice(context, pair_choice, kept)
        chat_pair = stack.enter_context(closing(ChatPair(choice, quiet=quiet)))
        chat = Chat(chat_pair, screen, options, system, interactive=interactive)
        chat.given = dict(context.meta[GIVEN])
        chat.quiet, chat.shows_status = quiet, not quiet
        chat.shows_tracebacks = debug_wanted(context)
        if choice.is_demo:
            chat.remarks = demo_remarks()
        if load is not None:
            chat.load(Path(load))
        notes = [] if load is None else [chat.loaded_note(load)]
        if kept is not None:
            notes += _take_up(chat, kept, save_kv)
        if not quiet:
            choice.warn(chat.pair)
            screen.greet([f"edge-wsd {__version__}", *(chat.remarks or [one_line(choice.title)])])
            for note in notes:
                screen.note(note)
            if notes:
                screen.space()
        stack.callback(_leave, chat)
        _hold(chat, _line_source(choice) if interactive else LineReader())


def _choice(context: click.Context, choice: PairChoice, kept: KeptSession | None) -> PairChoice:
    """The pair that was named; else that of the session."""
    named = any(context.params.get(name) is not None for name in ("pair", "drafter", "base"))
    if named or kept is None or kept.conversation is None:
        return choice
    pair = referred_pair(kept.conversation.pair)
    return choice if pair is None else choice.instead(pair)


def _take_up(chat: Chat, kept: KeptSession, save_kv: bool | None) -> list[str]:
    """Goes on with the session, and returns what there is to say of it."""
    chat.kept = ChatSession(kept, save_kv=save_kv)
    if kept.conversation is None:
        return [f"a new session: {kept.name}, kept after every turn"]
    chat.take_up(kept.conversation, kept.path)
    notes = [chat.loaded_note(f"the session {kept.name}")]
    before = kept.conversation.pair.get("name")
    if before and before != chat.pair.name:
        notes.append(f"it was held with the pair {before}; from now on it is {chat.pair.name}")
    about_memory = chat.kept.bring_memory_back(chat.session, quiet=chat.quiet)
    return notes + ([about_memory] if about_memory else [])


def _leave(chat: Chat) -> None:
    """A session that was begun inside is let go as well."""
    if chat.kept is None:
        return
    try:
        about_memory = chat.kept.leave(chat.session, quiet=chat.quiet)
        if about_memory and not chat.quiet:
            chat.screen.note(about_memory)
    finally:
        chat.kept.kept.close()


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
    try:
        if (name_and_rest := chat_commands.split(line)) is not None:
            chat_commands.execute(chat, *name_and_rest)
        else:
            chat_commands.refuse_habits(line)
            chat.ask(message_of(line))
    finally:
        chat.keep()
    chat.screen.space()


def _tell(chat: Chat, error: Exception) -> None:
    """Whatever went wrong, the conversation is not lost."""
    if chat.shows_tracebacks:
        show_traceback(error)
    else:
        chat.screen.error(explained(error))
    chat.screen.space()
