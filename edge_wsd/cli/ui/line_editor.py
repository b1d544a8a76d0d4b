"""A person types at a terminal: history over sessions, several lines, completion, and the keys of a shell."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.filters import is_searching
from prompt_toolkit.formatted_text import AnyFormattedText
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.output import create_output
from prompt_toolkit.search import SearchDirection, accept_search, start_search, stop_search
from prompt_toolkit.styles import Style

from edge_wsd.cli.ui.chat_input import CONTINUATION, PROMPT, Complete, is_open_block
from edge_wsd.cli.ui.guard import drawing_on
from edge_wsd.cli.ui.private_file import private_file

_MOST_HISTORY_BYTES = 16 << 20


class LineEditor:
    """Reads messages and commands, with a history that outlives the program."""

    def __init__(self, complete: Complete, placeholders: Sequence[str]) -> None:
        """The first of `placeholders` that fits stands where nothing has been typed yet."""
        path = private_file("chat_history")
        history: History = _LastingHistory(str(path)) if path is not None else InMemoryHistory()
        self._session: PromptSession[str] = PromptSession(
            [("class:prompt", PROMPT)],
            history=history,
            multiline=True,
            key_bindings=_keys(),
            completer=_CommandCompleter(complete),
            complete_while_typing=True,
            enable_suspend=True,
            enable_open_in_editor=True,
            prompt_continuation=lambda _width, _line, _wrapped: [("class:prompt", CONTINUATION)],
            placeholder=lambda: _placeholder(placeholders),
            style=Style([("prompt", "bold"), ("placeholder", "fg:ansibrightblack")]),
            reserve_space_for_menu=6,
            include_default_pygments_style=False,
            output=create_output(drawing_on(sys.stdout)),
        )

    def read(self) -> str:
        """The next message; blank ones are passed over. Raises EOFError and KeyboardInterrupt."""
        while True:
            text = self._session.prompt()
            if text.strip():
                return text


def _placeholder(choices: Sequence[str]) -> AnyFormattedText:
    app = get_app()
    if app.is_done or app.layout.is_searching:  # the text of a search stands in the same place
        return []
    n_columns = app.output.get_size().columns - len(PROMPT) - 1
    return [("class:placeholder", next((each for each in choices if len(each) <= n_columns), ""))]


class _LastingHistory(FileHistory):
    """A file that cannot be read or written, for want of space perhaps, costs its history and no conversation."""

    def load_history_strings(self) -> Iterable[str]:
        try:
            too_large = Path(os.fsdecode(self.filename)).stat().st_size > _MOST_HISTORY_BYTES
            return [] if too_large else [*super().load_history_strings()]
        except OSError:
            return []

    def store_string(self, string: str) -> None:
        try:
            super().store_string(string)
        except OSError:
            return  # it stays in the history of this conversation


_MOVES = (
    "c-a",
    "c-e",
    "c-b",
    "c-f",
    "c-k",
    "c-w",
    "c-d",
    "c-t",
    "c-l",
    "left",
    "right",
    "home",
    "end",
    "delete",
    "tab",
)
"""Keys that end a search, as in a shell, and do what they always do with the line that was found."""


def _keys() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("enter", filter=~is_searching)
    def _enter(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        menu = buffer.complete_state
        if menu is not None and menu.current_completion is not None and len(menu.completions) > 1:
            buffer.complete_state = None  # Enter takes what was chosen, the next one sends
        elif is_open_block(buffer.text):
            buffer.newline()
        else:
            buffer.validate_and_handle()

    @keys.add("escape", "enter")
    def _break_line(event: KeyPressEvent) -> None:
        event.current_buffer.newline()

    @keys.add("c-@")
    def _nothing(_event: KeyPressEvent) -> None:
        """A selection, which it begins otherwise, would swallow what is typed next."""

    _add_search(keys)
    return keys


def _add_search(keys: KeyBindings) -> None:
    """Ctrl-R and Ctrl-S as in a shell: Enter sends what was found, other keys edit it, Ctrl-G and Ctrl-C go back."""
    before: list[tuple[int, int]] = []

    def start(direction: SearchDirection) -> Callable[[KeyPressEvent], None]:
        def begin(event: KeyPressEvent) -> None:
            before[:] = [(event.current_buffer.working_index, event.current_buffer.cursor_position)]
            start_search(direction=direction)

        return begin

    keys.add("c-r", filter=~is_searching)(start(SearchDirection.BACKWARD))
    keys.add("c-s", filter=~is_searching)(start(SearchDirection.FORWARD))

    @keys.add("enter", filter=is_searching)
    def _send_what_was_found(event: KeyPressEvent) -> None:
        accept_search()
        event.current_buffer.validate_and_handle()

    @keys.add("c-g", filter=is_searching)
    @keys.add("c-c", filter=is_searching)
    def _go_back(event: KeyPressEvent) -> None:
        stop_search()
        buffer = event.current_buffer
        buffer.working_index, buffer.cursor_position = before[0]

    for key in _MOVES:

        @keys.add(key, filter=is_searching)
        def _edit_what_was_found(event: KeyPressEvent) -> None:
            accept_search()
            event.key_processor.feed_multiple(event.key_sequence, first=True)


class _CommandCompleter(Completer):
    """Completes a line that begins with a slash."""

    def __init__(self, complete: Complete) -> None:
        self._complete = complete

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        text = document.text_before_cursor
        if text.startswith("/") and "\n" not in text:
            for candidate in self._complete(text):
                yield Completion(
                    candidate.text,
                    start_position=-candidate.replaces,
                    display=candidate.shown,
                    display_meta=candidate.meaning,
                )
