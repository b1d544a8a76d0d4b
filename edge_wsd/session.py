"""A conversation over a pair.

>>> chat = pair.session(system="Answer briefly.")
>>> for event in chat.stream("How do I list files by size?"):
...     if isinstance(event, Token):
...         print(event.text, end="")
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import ReferenceType, ref

from edge_wsd import checks
from edge_wsd._native import CancelFlag
from edge_wsd.asked import Asked
from edge_wsd.authorship import Authorship
from edge_wsd.conversation_file import SavedConversation
from edge_wsd.decoding.events import SOURCES, Reply
from edge_wsd.decoding.options import Options, checked_options
from edge_wsd.engine.stream import Stream
from edge_wsd.errors import BusyError, SessionFileError, TemplateError
from edge_wsd.prompts.messages import Message, parse_messages
from edge_wsd.prompts.tools import Tool, parse_tools

if TYPE_CHECKING:
    from edge_wsd.pair import Pair


@dataclass(frozen=True, slots=True)
class _Turns:
    """What has been said so far. Replaced as a whole, so that no thread ever sees half a turn."""

    messages: tuple[Message, ...]
    written: tuple[Authorship | None, ...] = ()
    """One for each message."""
    answered: tuple[Message, ...] | None = None
    """The messages that the last reply answered."""
    n_left_out: int = 0
    """Messages at the beginning that no longer fit."""
    last: Reply | None = None


class Session:
    """Messages, a system prompt and options. `stream` adds a turn, as a whole, when the turn ends.

    `options` and `system` may be set at any time; a reply that is being written keeps those that it began with.
    """

    def __init__(
        self,
        pair: Pair,
        *,
        system: str | None = None,
        options: Options | None = None,
        messages: Sequence[Message] | Sequence[Mapping[str, Any]] = (),
        tools: Sequence[Tool] | Sequence[Mapping[str, Any]] = (),
    ) -> None:
        parsed = parse_messages(messages) if messages else ()
        if parsed and parsed[0].role == "system":
            if system is not None:
                raise TemplateError("the system prompt is given twice: as an argument and as the first message")
            system, parsed = parsed[0].content, parsed[1:]
        self.system = system
        self.options = checked_options(options, Options())
        self.tools = parse_tools(tools)
        """What the model may call (`edge_wsd.prompts.tools`); its calls are in the text, in the model's own form."""
        self._pair = pair
        self._turns = _Turns(tuple(parsed), (None,) * len(parsed))
        self._flag = CancelFlag()  # of the reply that is asked for or written
        self._stream: ReferenceType[Stream] | None = None
        self._claims: dict[str, object] = {}  # whoever asks or clears, of all threads

    @property
    def messages(self) -> tuple[Message, ...]:
        """All turns, including those that no longer fit into the context, without the system prompt."""
        return self._turns.messages

    @property
    def written(self) -> tuple[Authorship | None, ...]:
        """For each of `messages` who wrote which part of it, where the switch came, the seed and the pair. None for a
        message that was not written by a pair, and of one from a file that does not tell."""
        return self._turns.written

    @property
    def pair(self) -> Pair:
        return self._pair

    @property
    def n_left_out(self) -> int:
        """How many of `messages` no longer fit, and are not read by the models any more."""
        return self._turns.n_left_out

    @property
    def last(self) -> Reply | None:
        """The last reply; None before the first."""
        return self._turns.last

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

    def stream(self, prompt: str | None = None, *, cancel: CancelFlag | None = None) -> Stream:
        """Start writing the next reply; read its events from the stream. Without a prompt the conversation is
        continued as it is.

        `cancel` does what the method does, also before this one has begun.
        Closing the stream, or an error, leaves the conversation as it was before. To keep what was written, cancel.
        Raises `TemplateError` for a conversation that cannot be answered, `ContextFullError` for one that is too long,
        `BusyError` while another reply to it is being written, and whatever `Engine.submit` raises.
        """
        added = () if prompt is None else (Message("user", prompt),)
        return self._begin(lambda: self._with(added), cancel)

    def ask(self, prompt: str | None = None) -> Reply:
        """Write the next reply and return it whole."""
        return self.stream(prompt).result()

    def regenerate(self) -> Stream:
        """Write the last reply again, as `stream` does. When sampling, change `options.seed` for a different reply."""
        return self._begin(self._without_last_reply)

    def cancel(self) -> None:
        """Stop the reply that is being written or was just asked for, from any thread: within one decode."""
        self._flag.set()
        if (stream := self._unfinished()) is not None:
            stream.cancel()

    def clear(self) -> None:
        """Forget all turns; the system prompt and the options stay. Raises `BusyError` while one is being written."""
        with self._claimed():
            self._turns = _Turns(())

    def undo(self) -> tuple[Message, ...]:
        """Take the last turn back: the user's last message and what came after it. Returns these messages.

        Raises `TemplateError` if nothing was said, and `BusyError` while a reply is being written.
        """
        with self._claimed():
            turns = self._turns
            if not turns.messages:
                raise TemplateError("nothing has been said that could be taken back")
            n = max((i for i, message in enumerate(turns.messages) if message.role == "user"), default=0)
            self._turns = _Turns(turns.messages[:n], turns.written[:n], n_left_out=min(turns.n_left_out, n))
            return turns.messages[n:]

    def leave_out(self, n: int) -> None:
        """Have the models read no more of the first `n` messages, as if these did not fit. Raises `BusyError`."""
        with self._claimed():
            checks.require_whole("the number of messages to leave out", n, 0, len(self.messages))
            self._turns = replace(self._turns, n_left_out=n)

    def fork(self, pair: Pair | None = None) -> Session:
        """Another conversation that begins like this one: with the same messages, system prompt and options, and the
        same messages left out. Then each goes its own way; what they have in common is in memory only once.

        In the middle of a reply, the fork is the conversation as it was before that turn. Nothing is decoded here.
        With another `pair`, the fork is over that one.
        """
        child = Session(pair or self._pair, system=self.system, options=self.options, tools=self.tools)
        child._turns = self._turns if child.pair is self._pair else replace(self._turns, n_left_out=0)
        return child

    def _with(self, added: tuple[Message, ...]) -> tuple[Message, ...]:
        """The conversation to be answered, including the messages `added` now."""
        messages = self.messages + added
        if not messages:
            raise TemplateError("the conversation is empty; give it a prompt")
        if messages[-1].role == "user" and not messages[-1].content.strip():
            raise TemplateError("the prompt is empty; give it some text")
        if self.system is None and all(message.role == "assistant" for message in messages):
            raise TemplateError("the conversation has only assistant messages; begin it with a user message")
        if messages[-1].tool_calls:
            raise TemplateError("the conversation ends with calls of tools; add a message of role 'tool' for each")
        return messages

    def _without_last_reply(self) -> tuple[Message, ...]:
        """The conversation as it was answered: with the beginning of the reply, if one was given."""
        messages, answered = self._turns.messages, self._turns.answered
        if not messages or messages[-1].role != "assistant":
            raise TemplateError("there is no reply to write again")
        if answered is not None:
            return answered
        if len(messages) == 1:
            raise TemplateError("the conversation begins with its reply, so the reply cannot be written again")
        return messages[:-1]

    @contextmanager
    def _claimed(self) -> Iterator[None]:
        """One caller at a time, without waiting: a signal handler would wait for the thread that it has stopped."""
        me = object()
        try:
            if self._claims.setdefault("asks", me) is not me or self._unfinished() is not None:
                raise BusyError(
                    "a reply to this conversation is being written; read its stream to the end, cancel or close it "
                    "first"
                )
            yield
        finally:
            if self._claims.get("asks") is me:
                del self._claims["asks"]

    def _begin(self, messages_of: Callable[[], tuple[Message, ...]], cancel: CancelFlag | None = None) -> Stream:
        """Start a reply to what `messages_of` returns, with the current options."""
        self._pair.require_open()
        with self._claimed():
            stream = self._asked(messages_of(), cancel or CancelFlag())
            self._stream = ref(stream)
            if self._flag.is_set:  # since the prompts were made
                stream.cancel()
            return stream

    def _asked(self, messages: tuple[Message, ...], cancel: CancelFlag) -> Stream:
        self._flag, n_left_out = cancel, self._turns.n_left_out
        begun = self._pair.answer(Asked(self.system, messages[n_left_out:], self.options, self.tools), self._flag)
        n_left_out += begun.n_dropped
        begun.stream.on_finish = lambda reply: self._keep(reply, messages, n_left_out)
        return begun.stream

    def _unfinished(self) -> Stream | None:
        """The stream of the reply that is being written, if somebody still holds it."""
        stream = self._stream() if self._stream is not None else None
        return stream if stream is not None and not stream.is_over else None

    def _keep(self, reply: Reply, messages: tuple[Message, ...], n_left_out: int) -> None:
        """Make the turn part of the conversation, unless it was cancelled before its first word."""
        last, written = messages[-1], self._turns.written
        if not reply.text and reply.finish_reason == "cancelled":
            self._turns = replace(self._turns, last=reply)
            return
        answered, opening, before = None, "", None
        if last.role == "assistant":
            answered, messages = messages, messages[:-1]
            opening, before = last.content.rstrip(), written[len(messages)] if len(written) > len(messages) else None
        answer = Message("assistant", opening + reply.text)
        authorship = Authorship.of(reply, pair=self._pair.name, opening=opening, before=before)
        kept = (*written, *[None] * len(messages))[: len(messages)]
        self._turns = _Turns((*messages, answer), (*kept, authorship), answered, n_left_out, reply)

    def saved(self) -> SavedConversation:
        """What is kept of the conversation in a file."""
        pair = {"name": self._pair.name}
        pair.update((role, str(self._pair.about(role).path)) for role in SOURCES)
        return SavedConversation(self.system, self.messages, self.options, self.written, pair)

    def save(self, path: str | Path) -> None:
        """Write messages, who wrote them, system prompt and options as JSON; replaces no other file. Raises
        `SessionFileError`."""
        self.saved().write(path)

    @classmethod
    def load(cls, path: str | Path, pair: Pair) -> Session:
        """A saved conversation over `pair`. Raises `SessionFileError`."""
        return cls.of(SavedConversation.read(path), pair, path)

    @classmethod
    def of(cls, saved: SavedConversation, pair: Pair, path: str | Path) -> Session:
        """The conversation that was read from `path`, over `pair`. Raises `SessionFileError`."""
        try:
            session = cls(pair, system=saved.system, options=saved.options, messages=saved.messages)
        except TemplateError as error:
            raise SessionFileError(f"{path}: is a damaged conversation ({error})") from error
        session._turns = replace(session._turns, written=saved.written[len(saved.written) - len(session.messages) :])
        return session
