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
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import ReferenceType, ref

from edge_wsd._native import CancelFlag
from edge_wsd.conversation_file import SavedConversation
from edge_wsd.decoding.events import Dropped, Event, Finished, Reply, Source
from edge_wsd.decoding.meter import Meter
from edge_wsd.decoding.options import Options
from edge_wsd.errors import BusyError, ClosedError, SessionFileError, TemplateError
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
        """Cancel it, and end it if nobody is waiting for its next event."""
        self.flag.set()
        events = self.events() if self.events is not None else None
        if events is not None:
            with suppress(ValueError):  # another thread is waiting for its next event, and will get the end
                events.close()


class Session:
    """Messages, a system prompt and options; `stream` adds a turn. `options` and `system` may be set at any time."""

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
        self.options = options or Options()
        self.last: Reply | None = None
        self.on_reading: Callable[[Source, int, int], None] | None = None
        """Called, in the thread that writes, with a model, the tokens it has read and those it is reading. Reading a
        long prompt takes a while, in which there is no event."""
        self._pair = pair
        self._messages: list[Message] = list(parsed)
        self._first = 0  # messages before it no longer fit and are left out
        self._running: Turn | None = None
        self._next: Turn | None = None

    @property
    def messages(self) -> tuple[Message, ...]:
        """All turns, also those that no longer fit into the context. Without the system prompt."""
        return tuple(self._messages)

    def stream(self, prompt: str | None = None) -> Generator[Event, None, None]:
        """Write the next reply, event by event. Without a prompt the conversation goes on where it ends.

        Closing the iterator early, or an error, leaves the conversation as it was before. To keep what was written,
        cancel.
        """
        if prompt is None and not self._messages:
            raise TemplateError("the conversation is empty; give it a prompt")
        added = [] if prompt is None else [*parse_messages([Message("user", prompt)])]
        return self._begin(len(self._messages), added)

    def ask(self, prompt: str | None = None) -> Reply:
        """Write the next reply and return it whole."""
        for event in self.stream(prompt):
            if isinstance(event, Finished):
                return event.reply
        raise AssertionError("a reply ends with Finished")

    def regenerate(self) -> Generator[Event, None, None]:
        """Write the last reply again. Change `options.seed` to get another one when sampling."""
        if not self._messages or self._messages[-1].role != "assistant":
            raise TemplateError("there is no reply to write again")
        return self._begin(len(self._messages) - 1, [])

    def cancel(self) -> None:
        """Stop the reply that is being written, or the one just asked for, from any thread: within one decode."""
        for turn in (self._running, self._next):
            if turn is not None:
                turn.flag.set()

    def clear(self) -> None:
        """Forget all turns; the system prompt and the options stay."""
        self._messages.clear()
        self._first = 0
        self.last = None

    def _begin(self, n_kept: int, added: list[Message]) -> Generator[Event, None, None]:
        """A turn behind the first `n_kept` messages and `added`. Nothing happens until its first event is asked for."""
        turn = Turn()
        self._next = turn
        events = self._write(turn, n_kept, added)
        turn.events = ref(events)
        return events

    def _write(self, turn: Turn, n_kept: int, added: list[Message]) -> Generator[Event, None, None]:
        meter, pair = Meter(), self._pair
        if pair.closed:
            raise ClosedError(f"the pair {pair.name} is closed; load it again")
        if not pair.busy.acquire(blocking=False):
            raise BusyError("this pair is writing another reply; wait for its end or cancel it")
        before, reply = self._messages, None
        self._running = pair.running = turn
        try:
            self._report_reading()
            messages = self._messages[:n_kept] + added
            system = [] if self.system is None else [Message("system", self.system)]
            n_dropped = fit(pair, system, messages[self._first :], self.options)
            if n_dropped:
                yield Dropped(n_dropped)
            self._first += n_dropped
            self._messages = messages
            for event in write_reply(pair, system + messages[self._first :], self.options, turn.flag, meter):
                if isinstance(event, Finished):
                    reply = event.reply
                    self._keep(reply, before)
                yield event
        finally:
            if reply is None:
                self._messages = before
            pair.drafter.context.on_pass = pair.base.context.on_pass = None
            self._running = pair.running = None
            pair.busy.release()

    def _report_reading(self) -> None:
        if self.on_reading is not None:
            self._pair.drafter.context.on_pass = partial(self.on_reading, "drafter")
            self._pair.base.context.on_pass = partial(self.on_reading, "base")

    def _keep(self, reply: Reply, before: list[Message]) -> None:
        """Add the reply to the conversation. A turn that was cancelled before its first word did not happen."""
        self.last = reply
        last = self._messages[-1]
        if last.role == "assistant":
            self._messages = [*self._messages[:-1], replace(last, content=last.content.rstrip() + reply.text)]
        elif reply.text or reply.finish_reason != "cancelled":
            self._messages = [*self._messages, Message("assistant", reply.text)]
        else:
            self._messages = before

    def save(self, path: str | Path) -> None:
        """Write messages, system prompt and options as JSON. Raises `SessionFileError`."""
        SavedConversation(self.system, self.messages, self.options).write(path)

    @classmethod
    def load(cls, path: str | Path, pair: Pair) -> Session:
        """A saved conversation over `pair`. Raises `SessionFileError`."""
        saved = SavedConversation.read(path)
        try:
            return cls(pair, system=saved.system, options=saved.options, messages=saved.messages)
        except TemplateError as error:
            raise SessionFileError(f"{path}: is a damaged conversation ({error})") from error
