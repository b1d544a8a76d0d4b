"""Answers to many questions over one pair: several are written at once, and handed out in the order of the questions.

>>> with Pair.load("drafter.gguf", "base.gguf", parallel=4) as pair:
...     for question, answer in Batch(pair, questions, options=Options(max_tokens=100)):
...         print(question, "->", answer if isinstance(answer, Exception) else answer.text)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from itertools import chain
from threading import Event
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from edge_wsd.decoding.events import Reply
from edge_wsd.decoding.options import Options
from edge_wsd.errors import ClosedError, ForkedError, QueueFullError
from edge_wsd.prompts.messages import Message

if TYPE_CHECKING:
    from edge_wsd.engine.stream import Stream
    from edge_wsd.pair import Pair

T = TypeVar("T")
BatchPrompt = str | Sequence[Message] | Sequence[Mapping[str, Any]]
"""A question, or a conversation to continue."""

_AHEAD = 4
"""Questions asked per reply written at once, so that others continue while a long one holds up the order."""


class Batch(Generic[T]):
    """Yields each item with its reply, or with the exception that ended the reply. Can be iterated only once.

    Items are taken as they are needed and forgotten once they are handed out, so there may be any number of them.
    """

    def __init__(
        self,
        pair: Pair,
        items: Iterable[T],
        prompt: Callable[[T], BatchPrompt] | None = None,
        *,
        system: str | None = None,
        options: Options | None = None,
    ) -> None:
        """`prompt` turns an item into a prompt (without it, items are prompts); what it raises is the item's error.

        `system` and `options` apply to all items, as in `Pair.session`.
        """
        self._pair = pair
        self._items = iter(items)
        self._prompt = prompt
        self._system = system
        self._options = options
        self._asked: deque[tuple[T, Stream | Exception]] = deque()
        self._head: Stream | Exception | None = None
        self._stopped = Event()

    def __iter__(self) -> Generator[tuple[T, Reply | Exception], None, None]:
        """Raises `ClosedError` or `ForkedError` if the pair cannot answer any more."""
        try:
            while not self._stopped.is_set():
                self._ask_ahead()
                if not self._asked:
                    return
                item, self._head = self._asked[0]
                if self._stopped.is_set():  # checked again: `cancel` may have come before it could see the head
                    return
                answer = _result(self._head)
                if isinstance(answer, Reply) and answer.finish_reason == "cancelled":
                    self._pair.require_open()
                    return
                self._asked.popleft()
                yield item, answer
        finally:
            for _, stream in self._asked:
                if not isinstance(stream, Exception):
                    stream.close()
            self._asked.clear()

    def cancel(self) -> None:
        """End the iteration within one decode, from any thread. Replies that are not finished are dropped."""
        self._stopped.set()
        if self._head is not None and not isinstance(self._head, Exception):
            self._head.cancel()

    def _ask_ahead(self) -> None:
        """Ask enough questions to keep the pair busy. A pair that writes one at a time needs only one."""
        ahead = 1 if self._pair.parallel == 1 else _AHEAD * self._pair.parallel
        while len(self._asked) < ahead and not self._stopped.is_set():
            try:
                item = next(self._items)
            except StopIteration:
                return
            try:
                self._asked.append((item, self._ask(item)))
            except (ClosedError, ForkedError):
                raise
            except QueueFullError:
                if not self._asked:  # others fill the queue, and none of our replies will make room
                    raise
                self._items = chain([item], self._items)
                return
            except Exception as error:  # affects this item alone
                self._asked.append((item, error))

    def _ask(self, item: T) -> Stream:
        prompt: Any = item if self._prompt is None else self._prompt(item)
        if isinstance(prompt, str):
            return self._pair.session(system=self._system, options=self._options).stream(prompt)
        return self._pair.session(system=self._system, options=self._options, messages=prompt).stream()


def _result(stream: Stream | Exception) -> Reply | Exception:
    if isinstance(stream, Exception):
        return stream
    try:
        return stream.result()
    except (ClosedError, ForkedError):
        raise
    except Exception as error:  # affects this reply alone
        return error
