"""A conversation in the terminal: what is said and shown, whoever reads the lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_wsd.cli.chat_options import changed_options
from edge_wsd.cli.chat_pair import ChatPair
from edge_wsd.cli.chat_session import ChatSession
from edge_wsd.cli.pair_choice import PairChoice
from edge_wsd.cli.ui.interruptible import Interruptible
from edge_wsd.cli.ui.screen import Screen
from edge_wsd.cli.ui.status import dropped_note
from edge_wsd.cli.ui.terminal_state import keys_unseen, on_continue
from edge_wsd.cli.ui.texts import checked
from edge_wsd.cli.ui.waiting import WaitingLine
from edge_wsd.conversation_file import SavedConversation, holds_conversation
from edge_wsd.decoding.events import Dropped, Event, Finished, Reply, Token
from edge_wsd.decoding.options import Options
from edge_wsd.errors import SessionError
from edge_wsd.units import counted

if TYPE_CHECKING:
    from edge_wsd.loaded_model import ModelFacts
    from edge_wsd.pair import Pair
    from edge_wsd.session import Session


class Chat:
    """One conversation over a pair, with its screen. What a line of input does to it is `chat_commands`' to say."""

    def __init__(
        self, chat_pair: ChatPair, screen: Screen, options: Options, system: str | None, *, interactive: bool
    ) -> None:
        self.chat_pair = chat_pair
        self.screen = screen
        self.session: Session = self.pair.session(system=system, options=options)
        self.interactive = interactive
        self.given: dict[str, Any] = {}
        """Options of the command line, which win over those of a file; `/set` takes them out."""
        self.remarks: list[str] = []
        """What is to be known about the pair, for the greeting and `/help`."""
        self.quiet = False
        self.shows_status = True
        self.shows_tracebacks = False
        self.enclosed: dict[str, str] = {}
        """Texts of files by their names, which go in front of the next message."""
        self.kept: ChatSession | None = None
        """The session that the conversation is kept in."""
        self._given_system = system
        self._own_files: set[Path] = set()
        """Where the conversation was loaded from and saved to."""
        self._answered: tuple[Options, str | None, int] | None = None

    @property
    def pair(self) -> Pair:
        return self.chat_pair.open

    @property
    def defaults(self) -> Options:
        """What `/set NAME default` goes back to."""
        return self.chat_pair.defaults

    # Answers

    def ask(self, text: str) -> None:
        """Answers a message, with the files in front of it. They stay for the next one if it did not come to that."""
        message = checked("\n\n".join([*self.enclosed.values(), text]), "the message")
        if self.unanswered is not None:
            self.session.undo()
            self.screen.note("this message takes the place of the one that was not answered")
        n_before = len(self.session.messages)
        self.keep(question=message)
        try:
            self.answer(lambda: self.session.stream(message))
        finally:
            if len(self.session.messages) > n_before:
                self.enclosed.clear()
            elif self.enclosed:
                names = ", ".join(self.enclosed)
                self.screen.note(f"the text of {names} still goes with your next message; /read none drops it")

    @property
    def unanswered(self) -> str | None:
        """The message at the end of the conversation that has no answer: a program was killed while it wrote one."""
        messages = self.session.messages
        return messages[-1].content if messages and messages[-1].role == "user" else None

    def answer(self, events_of: Callable[[], Iterable[Event]]) -> None:
        """Streams the next answer. Ctrl-C ends it, and what is written so far stays in the conversation."""
        if (reply := self.show(self.session, events_of)) is not None:
            whole = reply.finish_reason != "cancelled"
            self._answered = (*self._settings(), len(self.session.messages)) if whole else None

    def show(self, session: Session, events_of: Callable[[], Iterable[Event]]) -> Reply | None:
        """Streams an answer in any conversation, and returns it. Raises KeyboardInterrupt if nobody sits there."""
        line = WaitingLine("reading the prompt", quiet=self.quiet)
        work: Interruptible[Event] = Interruptible(
            events_of, cancel=session.cancel, waiting=lambda: line.tick(self.screen.column)
        )
        reply = None
        on_continue.append(self.screen.colour_again)
        with keys_unseen(), closing(iter(work)) as events:
            try:
                for event in line.between(events):
                    self._show(event, session.options)
                    if isinstance(event, Finished):
                        reply = event.reply
            finally:
                line.erase()
                on_continue.remove(self.screen.colour_again)
                self.screen.end()
        if work.interrupted and not self.interactive:
            raise KeyboardInterrupt
        return reply

    def _show(self, event: Event, options: Options) -> None:
        if isinstance(event, Token):
            self.screen.token(event)
        elif isinstance(event, Dropped):
            self.screen.note(dropped_note(event.n_messages))
        elif isinstance(event, Finished):
            self.screen.end()
            if self.shows_status:
                self.screen.status(event.reply, options)
            if event.reply.note is not None and not self.quiet:
                self.screen.note(f"{event.reply.note}; /set stop_loops off lets it go on")

    def _settings(self) -> tuple[Options, str | None]:
        return self.session.options, self.session.system

    def would_repeat(self) -> bool:
        """Whether the last answer, written again, would be the same word for word."""
        options = self.session.options
        fixed = options.temperature == 0 or options.seed is not None
        return fixed and self._answered == (*self._settings(), len(self.session.messages))

    # What is changed inside

    def set_option(self, name: str, value: Any) -> None:
        """Changes an option from the next answer on."""
        self.session.options = self.session.options.with_changes(**{name: value})
        self.given.pop(name, None)

    def set_system(self, text: str | None) -> None:
        """Changes the system text from the next answer on."""
        self.session.system, self._given_system = text, None

    def drop_enclosed(self) -> str:
        """Forgets texts that have been read for the next message. Returns what to say of it, "" for nothing."""
        names = ", ".join(self.enclosed)
        self.enclosed.clear()
        return f", the text of {names} is dropped" if names else ""

    def change_pair(self, choice: PairChoice) -> None:
        """Goes on with another pair. Options that nobody has set become that pair's own.

        On an error the conversation goes on with the present one.
        """
        before = self.defaults
        if self.kept is not None:
            self.kept.settle(quiet=self.quiet)
        try:
            self.chat_pair.change(choice)
        finally:
            self.session = self.session.fork(self.pair)
        values = {field.name: getattr(self.session.options, field.name) for field in fields(Options)}
        unset = [name for name, value in values.items() if value == getattr(before, name)]
        self.session.options = self.session.options.with_changes(
            **{name: getattr(self.defaults, name) for name in unset}
        )
        self._answered = None

    # What is kept

    def save(self, path: Path) -> bool:
        """Keeps the conversation. Returns whether the file held another one; nothing else is overwritten."""
        replaces = holds_conversation(path)
        self.session.save(path)
        self._own_files.add(path.resolve())
        return replaces

    def would_replace(self, path: Path) -> bool:
        """Whether saving there would overwrite a conversation that this chat has neither loaded nor saved."""
        return holds_conversation(path) and path.resolve() not in self._own_files

    def load(self, path: Path) -> None:
        """Takes up a saved conversation. What the command line said stays. On an error the present one stays."""
        self.take_up(SavedConversation.read(path), path)

    def take_up(self, saved: SavedConversation, path: Path) -> None:
        """The same of one that was read from `path`."""
        from edge_wsd.session import Session

        session = Session.of(saved, self.pair, path)
        session.options = session.options.with_changes(**self.given)
        if self._given_system is not None:
            session.system = self._given_system
        self.session, self._answered = session, None
        self._own_files.add(path.resolve())

    def keep(self, question: str | None = None) -> None:
        """Writes the conversation to its session, if it has one. A person is told of an error and goes on."""
        if self.kept is None:
            return
        try:
            self.kept.keep(self.session, self.chat_pair.choice, question)
        except SessionError as error:
            if not self.interactive:
                raise
            self.screen.error(f"the session {self.kept.name} is not kept: {error}")
        if (problem := self.kept.problem()) is not None and not self.quiet:
            self.screen.note(problem)

    def loaded_note(self, origin: object) -> str:
        """What has been loaded, in one line."""
        parts = [f"{counted(len(self.session.messages), 'messages')} loaded from {origin}"]
        if self.session.system is not None:
            parts.append("a system text")
        if changed := changed_options(self.session.options, self.defaults):
            parts.append(changed)
        if self.unanswered is not None:
            parts.append("the last one has no answer yet, and /regen writes it")
        return f"{', '.join(parts)}; /show messages shows what was said"

    def pair_rows(self) -> list[tuple[str, str]]:
        """The two models and their vocabularies, for `/show`."""
        return [
            ("pair", self.pair.name),
            ("drafter", _described(self.pair.about("drafter"))),
            ("base", _described(self.pair.about("base"))),
            ("vocabularies", f"{self.pair.vocabulary.verdict} ({self.pair.vocabulary.reason})"),
        ]


def _described(model: ModelFacts) -> str:
    size = f"{model.n_params / 1e9:.1f} B" if model.n_params >= 1e9 else f"{model.n_params / 1e6:.1f} M"
    memory = f"{model.size_bytes / 2**20:.0f} MiB, context {model.n_ctx}"
    return f"{model.path.name}: {size} parameters, {memory}"
