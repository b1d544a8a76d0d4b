"""`edge-wsd chat`: a conversation in the terminal, line by line."""

from __future__ import annotations

import functools
import sys
from contextlib import AbstractContextManager, ExitStack, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path

import click

from edge_wsd import __version__
from edge_wsd.cli import chat_commands
from edge_wsd.cli.chat import Chat
from edge_wsd.cli.chat_options import value_text
from edge_wsd.cli.chat_pair import ChatPair
from edge_wsd.cli.chat_session import ChatSession
from edge_wsd.cli.main import debug_wanted, explained, show_traceback
from edge_wsd.cli.options import GIVEN, PER_MODEL_NOTE, reply_options_without, require_use
from edge_wsd.cli.pair_choice import PairChoice, demo_remarks, pair_options
from edge_wsd.cli.sections import SectionCommand
from edge_wsd.cli.session_names import complete_session
from edge_wsd.cli.session_pair import loading_text, session_choice, with_pair
from edge_wsd.cli.ui.chat_input import LineReader, LineSource, message_of
from edge_wsd.cli.ui.paint import Style, style_options
from edge_wsd.cli.ui.screen import screen_for
from edge_wsd.cli.ui.terminal import is_dumb, is_terminal, one_line
from edge_wsd.cli.ui.terminal_state import keys_unseen
from edge_wsd.cli.ui.texts import system_option
from edge_wsd.conversation_file import SavedConversation
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
@click.option("-c", "--continue", "goes_on", is_flag=True, help="Go on with the session that was used last.")
@click.option(
    "--save-kv/--no-save-kv",
    default=None,
    help="With a session: also keep what both models have in memory, so that it need not be read again.  "
    "[default: as before]",
)
@click.option("--load", metavar="FILE", help="Go on with a conversation saved by /save.")
@style_options
@click.option("-q", "--quiet", is_flag=True, help="No greeting and no status lines.")
@reply_options_without("top_logprobs")
@functools.partial(pair_options, may_go_on=True)
@click.pass_context
def command(
    context: click.Context,
    *,
    system: str | None,
    session_name: str | None,
    goes_on: bool,
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
    if save_kv is not None and session_name is None and not goes_on:
        raise click.UsageError("--save-kv needs --session NAME or --continue")
    screen = screen_for(style, interactive=interactive)
    with ExitStack() as stack:
        kept = stack.enter_context(_opened(session_name, goes_on=goes_on))
        earlier, choice = _earlier(kept, load), pair_choice
        given = dict(context.meta[GIVEN])
        require_use(options if earlier is None else earlier.conversation.options.with_changes(**given))
        if earlier is not None and load is None:
            choice = session_choice(context, pair_choice, earlier.conversation, earlier.path)
        chat_pair = stack.enter_context(closing(ChatPair(choice, quiet=quiet)))
        chat = Chat(chat_pair, screen, options, system, interactive=interactive)
        chat.given = given
        chat.quiet, chat.shows_status = quiet, not quiet
        chat.shows_tracebacks = debug_wanted(context)
        if choice.is_demo:
            chat.remarks = demo_remarks()
        notes = [] if earlier is None else _take_up(chat, earlier)
        if kept is not None:
            notes += _keep_in(chat, kept, save_kv)
        if not quiet:
            choice.warn(chat.pair)
            screen.greet([f"edge-wsd {__version__}", *(chat.remarks or [one_line(choice.title)])])
            for note in notes:
                screen.note(note)
            if notes:
                screen.space()
        stack.callback(_leave, chat)
        _hold(chat, _line_source(choice) if interactive else LineReader())


@dataclass(frozen=True)
class _Earlier:
    """A conversation to go on with."""

    conversation: SavedConversation
    path: Path
    origin: str
    """What a person calls it."""


def _opened(name: str | None, *, goes_on: bool) -> AbstractContextManager[KeptSession | None]:
    """The session that the options mean, if they mean one."""
    if goes_on and name is not None:
        raise click.UsageError("give either --session NAME or --continue, which is the session that was used last")
    if not goes_on and name is None:
        return nullcontext()
    store = SessionStore()
    return store.open(store.last_used() if name is None else name)


def _earlier(kept: KeptSession | None, load: str | None) -> _Earlier | None:
    """What was said before, in a file of /save or in the session."""
    has_begun = kept is not None and kept.conversation is not None
    if kept is not None and has_begun and load is not None:
        raise click.UsageError(f"there is a session {kept.name} already; give --load or --session, or another name")
    if load is not None:
        return _Earlier(SavedConversation.read(load), Path(load), load)
    if kept is None or kept.conversation is None:
        return None
    return _Earlier(kept.conversation, kept.path, f"the session {kept.name}")


def _take_up(chat: Chat, earlier: _Earlier) -> list[str]:
    """Goes on with it, and returns what there is to say of that."""
    chat.take_up(earlier.conversation, earlier.path)
    before, now = earlier.conversation.options, chat.session.options
    changed = [
        f"{name} {value_text(getattr(now, name))} instead of {value_text(getattr(before, name))}"
        for name in chat.given
        if getattr(now, name) != getattr(before, name)
    ]
    if chat.session.system != earlier.conversation.system:
        changed.append("the system text")
    return [chat.loaded_note(earlier.origin), *([f"given now: {', '.join(changed)}"] if changed else [])]


def _keep_in(chat: Chat, kept: KeptSession, save_kv: bool | None) -> list[str]:
    """Keeps the conversation in the session from now on, and returns what there is to say of that."""
    chat.kept = ChatSession(kept, save_kv=save_kv)
    if kept.conversation is None:
        return [f"a new session: {kept.name}, kept after every turn"]
    notes, before = [], kept.conversation
    now = with_pair(before, chat.chat_pair.choice)
    if before.pair.get("name") not in (None, chat.pair.name):
        notes.append(f"it was held with the pair {before.pair['name']}; from now on it is {chat.pair.name}")
    if now.loading or before.loading:
        text, old = (loading_text(each.loading) or "no options" for each in (now, before))
        notes.append(f"the models are loaded with {text}" + (f" instead of {old}" if text != old else ""))
    about_memory = chat.kept.bring_memory_back(chat.session, quiet=chat.quiet)
    return notes + ([about_memory] if about_memory else [])


def _leave(chat: Chat) -> None:
    """A session that was begun inside is let go as well."""
    if chat.kept is None:
        return
    try:
        about_memory = chat.kept.leave(quiet=chat.quiet)
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
            line = source.read()
            with keys_unseen() if chat.interactive else nullcontext():
                _take(chat, line)
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
