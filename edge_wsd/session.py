"""A conversation over a pair.

>>> chat = pair.session(system="Answer briefly.")
>>> for event in chat.stream("How do I list files by size?"):
...     if isinstance(event, Token):
...         print(event.text, end="")
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from inspect import currentframe
from pathlib import Path
from types import GeneratorType
from typing import TYPE_CHECKING, Any, cast
from weakref import ReferenceType, ref

from edge_wsd._native import CancelFlag
from edge_wsd.conversation_file import SavedConversation
from edge_wsd.decoding.events import Dropped, Event, Finished, Reply, Source
from edge_wsd.decoding.meter import Meter
from edge_wsd.decoding.options import Options, checked_options
from edge_wsd.errors import BusyError, Cancelled, SessionFileError, TemplateError
from edge_wsd.prompts.messages import Message, parse_messages
from edge_wsd.reply import fit, write_reply

if TYPE_CHECKING:
    from edge_wsd.pair import Pair


class Turn:
    """One reply on its way: what stops it, and its events."""

    def __init__(self) -> None:
        self.flag = CancelFlag()
        # Weak, so that a stream nobody holds any more ends at once and gives the pair free.
        self.events: ReferenceType[Generator[Event, None, None]] | None = None

    def stop(self) -> None:
        """Cancel it, and end it if nobody is waiting for its next event. Raises `BusyError` inside of it."""
        self.flag.set()
        events = self.events() if self.events is not None else None
        if events is None:
            return
        if _is_inside(events):
            raise BusyError(
                "a pair cannot be closed inside the reply it is writing (in a signal handler?); cancel that"
            )
        with suppress(ValueError):  # another thread is waiting for its next event, and will get the end
            events.close()


def _is_inside(events: Generator[Event, None, None]) -> bool:
    """Whether this thread is at work on the next event: then nobody else will ever end it."""
    frame, own = currentframe(), cast("GeneratorType[Event, None, None]", events).gi_frame
    while frame is not None and frame is not own:
        frame = frame.f_back
    return frame is not None


class Session:
    """Messages, a system prompt and options; `stream` adds a turn, at its end and as a whole.

    `options` and `system` may be set at any time; a reply that is being written keeps those it began with.
    """

    def __init__(
        self,
        pair: Pair,
        *,
        system: str | None = None,
        options: Options | None = None,
        messages: Sequence[Message] | Sequence[Mapping[str, Any]] = (),
    ) -> None:
        parsed = parse_messages(messages) if messages else ()
        if parsed and parsed[0].role == "system":
            if system is not None:
                raise TemplateError("the system prompt is given twice: as an argument and as the first message")
            system, parsed = parsed[0].content, parsed[1:]
        self.system = system
        self.options = checked_options(options, Options())
        self.last: Reply | None = None
        self.on_reading: Callable[[Source, int, int], None] | None = None
        """Called, in the thread that writes, with a model, the tokens it has read and those it is reading. Reading a
        long prompt takes a while, in which there is no event."""
        self._pair = pair
        self._messages: list[Message] = list(parsed)
        self._answered: list[Message] | None = None  # what the last reply answered
        self._first = 0  # messages before it no longer fit and are left out
        self._running: Turn | None = None
        self._next: Turn | None = None

    @property
    def messages(self) -> tuple[Message, ...]:
        """All turns, also those that no longer fit into the context. Without the system prompt."""
        return tuple(self._messages)

    @property
    def system(self) -> str | None:
        return self._system

    @system.setter
    def system(self, text: str | None) -> None:
        self._system = None if text is None else Message("system", text).content

    @property
    def options(self) -> Options:
        return self._options

    @options.setter
    def options(self, options: Options) -> None:
        self._options = checked_options(options, options)

    def stream(self, prompt: str | None = None) -> Generator[Event, None, None]:
        """Write the next reply, event by event. Without a prompt the conversation goes on where it ends.

        Closing the iterator early, or an error, leaves the conversation as it was before. To keep what was written,
        cancel. Raises `TemplateError` for a conversation that cannot be answered; the errors of writing, `BusyError`
        and `ClosedError` come with the first event.
        """
        added = [] if prompt is None else [Message("user", prompt)]
        return self._begin(lambda: self._with(added))

    def ask(self, prompt: str | None = None) -> Reply:
        """Write the next reply and return it whole."""
        for event in self.stream(prompt):
            if isinstance(event, Finished):
                return event.reply
        raise AssertionError("a reply ends with Finished")

    def regenerate(self) -> Generator[Event, None, None]:
        """Write the last reply again, as `stream` does. Change `options.seed` to get another one when sampling."""
        return self._begin(self._without_last_reply)

    def cancel(self) -> None:
        """Stop the reply that is being written, or the one just asked for, from any thread: within one decode."""
        for turn in (self._running, self._next):
            if turn is not None:
                turn.flag.set()

    def clear(self) -> None:
        """Forget all turns; the system prompt and the options stay. Raises `BusyError` while one is being written."""
        if self._running is not None:
            raise BusyError("a reply to this conversation is being written; cancel it or close its stream, then clear")
        self._messages = []
        self._answered = None
        self._first = 0
        self.last = None

    def _with(self, added: list[Message]) -> list[Message]:
        """The conversation to be answered, with what was `added`."""
        messages = self._messages + added
        if not messages:
            raise TemplateError("the conversation is empty; give it a prompt")
        if messages[-1].role == "user" and not messages[-1].content.strip():
            raise TemplateError("the prompt is empty; give it some text")
        if self.system is None and all(message.role == "assistant" for message in messages):
            raise TemplateError("the conversation has only messages of the assistant; begin it with one of the user")
        return messages

    def _without_last_reply(self) -> list[Message]:
        """The conversation as it was answered: with the beginning of the reply, if one was given."""
        if not self._messages or self._messages[-1].role != "assistant":
            raise TemplateError("there is no reply to write again")
        if self._answered is not None:
            return self._answered
        if len(self._messages) == 1:
            raise TemplateError("there is no message that the reply answers, so it cannot be written again")
        return self._messages[:-1]

    def _begin(self, conversation: Callable[[], list[Message]]) -> Generator[Event, None, None]:
        """A reply to `conversation` as it is once the first event is asked for; nothing happens before."""
        conversation()  # raises at once if it cannot be answered
        turn = Turn()
        self._next = turn
        events = self._write(turn, conversation)
        turn.events = ref(events)
        return events

    def _write(self, turn: Turn, conversation: Callable[[], list[Message]]) -> Generator[Event, None, None]:
        meter = Meter()
        with self._pair.lent_to(turn):
            self._running = turn
            try:
                self._report_reading()
                messages, options, n_dropped = conversation(), self.options, 0
                system = [] if self.system is None else [Message("system", self.system)]
                try:
                    fitted = fit(self._pair, system, messages[self._first :], options, turn.flag)
                    n_dropped = fitted.n_dropped
                    if n_dropped:
                        yield Dropped(n_dropped)
                    reply = yield from write_reply(self._pair, fitted, options, turn.flag, meter)
                except Cancelled:
                    reply = Reply("", (), (), "cancelled", None, meter.statistics(n_tokens=0, n_draft=0))
                self._keep(reply, messages, n_dropped)
            finally:
                self._pair.drafter.context.on_pass = self._pair.base.context.on_pass = None
                self._running = None
        # The pair is free by now: whoever reads no further must not keep it from others.
        yield Finished(reply)

    def _report_reading(self) -> None:
        if self.on_reading is not None:
            self._pair.drafter.context.on_pass = partial(self.on_reading, "drafter")
            self._pair.base.context.on_pass = partial(self.on_reading, "base")

    def _keep(self, reply: Reply, messages: list[Message], n_dropped: int) -> None:
        """Make the turn part of the conversation. One that was cancelled before its first word did not happen."""
        self.last = reply
        if not reply.text and reply.finish_reason == "cancelled":
            return
        last = messages[-1]
        if last.role == "assistant":
            self._messages = [*messages[:-1], replace(last, content=last.content.rstrip() + reply.text)]
        else:
            self._messages = [*messages, Message("assistant", reply.text)]
        self._answered = messages
        self._first += n_dropped

    def save(self, path: str | Path) -> None:
        """Write messages, system prompt and options as JSON; never over another file. Raises `SessionFileError`."""
        SavedConversation(self.system, self.messages, self.options).write(path)

    @classmethod
    def load(cls, path: str | Path, pair: Pair) -> Session:
        """A saved conversation over `pair`. Raises `SessionFileError`."""
        saved = SavedConversation.read(path)
        try:
            return cls(pair, system=saved.system, options=saved.options, messages=saved.messages)
        except TemplateError as error:
            raise SessionFileError(f"{path}: is a damaged conversation ({error})") from error
