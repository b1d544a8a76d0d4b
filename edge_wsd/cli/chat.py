"""`edge-wsd chat`: a conversation in the terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge_wsd import __version__
from edge_wsd.cli import chat_commands
from edge_wsd.cli.chat_input import LineReader, PromptReader, Reader, without_quotes
from edge_wsd.cli.interruptible import Interruptible
from edge_wsd.cli.options import GIVEN, PER_MODEL_NOTE, SectionCommand, reply_options
from edge_wsd.cli.paint import Style, style_options
from edge_wsd.cli.pair_choice import DEMO_NOTE, PairChoice, pair_options
from edge_wsd.cli.screen import Screen, screen_for
from edge_wsd.cli.terminal import is_terminal, keys_unseen, neutralise
from edge_wsd.cli.texts import checked
from edge_wsd.decoding.events import Dropped, Event, Finished, Token
from edge_wsd.decoding.options import Options
from edge_wsd.errors import EdgeWsdError

if TYPE_CHECKING:
    from edge_wsd.pair import LoadedModel, Pair


@click.command(cls=SectionCommand, epilog=PER_MODEL_NOTE)
@click.option("--system", metavar="TEXT", help="What both models are told first.")
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
        raise EdgeWsdError("stdout or stderr is closed, so the conversation has nowhere to go")
    screen = screen_for(style, interactive=interactive)
    with pair_choice.open() as pair:
        chat = Chat(pair, screen, options, system, interactive=interactive)
        chat.shows_status = not quiet
        chat.defaults = pair_choice.defaults
        if load is not None:
            chat.load(Path(load))
            chat.session.options = chat.session.options.with_changes(**context.meta[GIVEN])
            chat.session.system = chat.session.system if system is None else system
        if not quiet:
            pair_choice.warn(pair)
            screen.greet(_greeting(pair_choice))
        if interactive:
            chat.hold(PromptReader(chat_commands.complete))
        else:
            chat.hold(LineReader())


def _greeting(pair_choice: PairChoice) -> list[str]:
    return [f"edge-wsd {__version__}", DEMO_NOTE if pair_choice.is_demo else neutralise(pair_choice.title)]


class Chat:
    """One conversation: messages go to the session, commands to their table."""

    def __init__(self, pair: Pair, screen: Screen, options: Options, system: str | None, *, interactive: bool) -> None:
        self.pair = pair
        self.screen = screen
        self.session = pair.session(system=system, options=options)
        self.interactive = interactive
        self.defaults = Options()
        """What `/set NAME default` goes back to."""
        self.shows_status = True
        self.enclosed: list[str] = []
        """Texts read from files, which go in front of the next message."""

    def hold(self, reader: Reader) -> None:
        """Until the input ends. An error ends a conversation read from a pipe, but not one with a person."""
        while True:
            try:
                self._take(reader.read())
            except EOFError:
                return
            except KeyboardInterrupt:
                if not self.interactive:
                    raise
                self.screen.note("Ctrl-D or /quit leaves")
            except (EdgeWsdError, OSError) as error:
                if not self.interactive or isinstance(error, BrokenPipeError):
                    raise
                self.screen.error(str(error))
                self.screen.space()

    def _take(self, line: str) -> None:
        if (name_and_rest := chat_commands.split(line)) is not None:
            chat_commands.execute(self, *name_and_rest)
        else:
            message = checked("\n\n".join([*self.enclosed, without_quotes(line)]), "the message")
            self.enclosed.clear()
            self.answer(lambda: self.session.stream(message))
        self.screen.space()

    def answer(self, events_of: Callable[[], Iterable[Event]]) -> None:
        """Streams one answer. Ctrl-C ends it, and what there is of it stays in the conversation."""
        work: Interruptible[Event] = Interruptible(events_of, cancel=self.session.cancel)
        with keys_unseen(), closing(iter(work)) as events:
            try:
                for event in events:
                    self._show(event)
            finally:
                self.screen.end()
        if work.interrupted and not self.interactive:
            raise KeyboardInterrupt

    def _show(self, event: Event) -> None:
        if isinstance(event, Token):
            self.screen.token(event)
        elif isinstance(event, Dropped):
            self.screen.note(f"{event.n_messages} of the oldest messages no longer fit and were left out")
        elif isinstance(event, Finished):
            self.screen.end()
            if self.shows_status:
                self.screen.status(event.reply, self.session.options)

    def load(self, path: Path) -> None:
        """Takes up a saved conversation. On an error the present one stays."""
        from edge_wsd.session import Session

        self.session = Session.load(path, self.pair)

    def pair_rows(self) -> list[tuple[str, str]]:
        """The two models and their vocabularies, for `/show`."""
        return [
            ("pair", self.pair.name),
            ("drafter", _described(self.pair.drafter)),
            ("base", _described(self.pair.base)),
            ("vocabularies", f"{self.pair.vocabulary.verdict} ({self.pair.vocabulary.reason})"),
        ]


def _described(loaded: LoadedModel) -> str:
    model = loaded.model
    size = f"{model.n_params / 1e9:.1f} B" if model.n_params >= 1e9 else f"{model.n_params / 1e6:.1f} M"
    memory = f"{model.size_bytes / 2**20:.0f} MiB, context {loaded.context.n_ctx}"
    return f"{Path(model.path).name}: {size} parameters, {memory}"
