'''Where the lines of a conversation come from: a person at a terminal, or a file or pipe.

A message of several lines is put between lines of `"""`; at a terminal Alt-Enter breaks the line as well.
'''

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol

from edge_wsd.cli.places import private_file
from edge_wsd.cli.texts import MOST_BYTES, decoded

if TYPE_CHECKING:  # prompt_toolkit is imported only for a person at a terminal
    from prompt_toolkit.completion import Completer
    from prompt_toolkit.formatted_text import AnyFormattedText
    from prompt_toolkit.key_binding import KeyBindings

Complete = Callable[[str], Iterable[tuple[str, str]]]
QUOTES = '"""'
PROMPT, CONTINUATION = ">>> ", "... "


class Reader(Protocol):
    """Gives one message or command after the other."""

    def read(self) -> str:
        """The next one, a block still in its quotes.

        Raises EOFError at the end and KeyboardInterrupt for Ctrl-C.
        """
        ...


def is_open_block(text: str) -> bool:
    """Whether the text begins a block of several lines that has not been closed yet."""
    stripped = text.strip()
    return stripped.startswith(QUOTES) and not (len(stripped) >= 2 * len(QUOTES) and stripped.endswith(QUOTES))


def without_quotes(text: str) -> str:
    """The inside of a block; other text as it is."""
    stripped = text.strip()
    if not stripped.startswith(QUOTES):
        return text
    return stripped.removeprefix(QUOTES).removesuffix(QUOTES).strip("\n")


class LineReader:
    """Reads stdin line by line, for scripts and pipes. Empty lines are passed over."""

    def read(self) -> str:
        """The next line or block. A block that the end of the input leaves open counts as closed."""
        if sys.stdin is None:
            raise EOFError
        text = self._line()
        while not text.strip():
            text = self._line()
        while is_open_block(text):
            try:
                text += "\n" + self._line()
            except EOFError:
                break
        return text

    def _line(self) -> str:
        data = sys.stdin.buffer.readline(MOST_BYTES + 1)
        if not data:
            raise EOFError
        return decoded(data, "a line of stdin")


class PromptReader:
    """A person types: history over sessions, several lines, completion of commands."""

    def __init__(self, complete: Complete) -> None:
        from prompt_toolkit import PromptSession
        from prompt_toolkit.history import FileHistory, History, InMemoryHistory
        from prompt_toolkit.styles import Style

        path = private_file("chat_history")
        history: History = FileHistory(str(path)) if path is not None else InMemoryHistory()
        self._session: PromptSession[str] = PromptSession(
            [("class:prompt", PROMPT)],
            history=history,
            multiline=True,
            key_bindings=_keys(),
            completer=_completer(complete),
            complete_while_typing=True,
            prompt_continuation=lambda _width, _line, _wrapped: [("class:prompt", CONTINUATION)],
            placeholder=_placeholder,
            style=Style([("prompt", "bold"), ("placeholder", "fg:ansibrightblack")]),
            reserve_space_for_menu=6,
            include_default_pygments_style=False,
        )

    def read(self) -> str:
        """The next message; blank ones are passed over."""
        while True:
            text = self._session.prompt()
            if text.strip():
                return text


def _placeholder() -> AnyFormattedText:
    from prompt_toolkit.application import get_app

    return [] if get_app().is_done else [("class:placeholder", "Your question, or /help")]


def _keys() -> KeyBindings:
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

    keys = KeyBindings()

    @keys.add("enter")
    def _enter(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        state = buffer.complete_state
        if state is not None and state.current_completion is not None:
            buffer.complete_state = None  # Enter takes the completion, the next one sends
        elif is_open_block(buffer.text):
            buffer.newline()
        else:
            buffer.validate_and_handle()

    @keys.add("escape", "enter")
    def _break_line(event: KeyPressEvent) -> None:
        event.current_buffer.newline()

    return keys


def _completer(complete: Complete) -> Completer:
    from prompt_toolkit.completion import CompleteEvent, Completer, Completion
    from prompt_toolkit.document import Document

    class CommandCompleter(Completer):
        """Completes what `complete` knows of the last word of a line that begins with a slash."""

        def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
            text = document.text_before_cursor
            if text.startswith("/") and "\n" not in text:
                word = text.split(" ")[-1]
                for candidate, meaning in complete(text):
                    yield Completion(candidate, start_position=-len(word), display_meta=meaning)

    return CommandCompleter()
