"""From token bytes to text that may be shown: only whole characters, and never the beginning of a stop string."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Mapping
from types import MappingProxyType


class TextStream:
    """One per reply, across the switch. Feed it bytes and show what it returns.

    Bytes that can never become UTF-8 turn into U+FFFD. Once `stop` is set the text is complete: it was cut before
    that stop string, and nothing more may be fed.
    """

    def __init__(self, stops: Iterable[str] | Mapping[str, str] = (), marks: Iterable[str] = ()) -> None:
        """`stops` may map patterns to the names reported in `stop`. `marks` are searched for, but not shown."""
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._called = stops if isinstance(stops, Mapping) else MappingProxyType({stop: stop for stop in stops})
        self._stops = tuple(self._called)
        self._marks = {ord(mark): None for mark in marks}
        self._firsts = {stop[0] for stop in self._stops}
        self._longest = max(map(len, self._stops), default=1)
        self._held = ""
        self.stop: str | None = None

    def feed(self, data: bytes, mark: str = "") -> str:
        """The text that is certain after these bytes and the mark that follows them."""
        return self._release(self._decoder.decode(data) + mark, final=False)

    def flush(self, mark: str = "", *, cut_off: bool = False) -> str:
        """The text still held back at the end of the reply, which `mark` follows. Half a character becomes U+FFFD.

        If the text was `cut_off`, half a character is left out: the next token would have completed it.
        """
        if cut_off:
            self._decoder.reset()
        return self._release(self._decoder.decode(b"", final=True) + mark, final=True)

    def _release(self, new: str, *, final: bool) -> str:
        text = self._held + new
        found = [(at, -len(stop), stop) for stop in self._stops if (at := text.find(stop)) >= 0]
        if found:
            at, _, stop = min(found)
            self.stop, self._held = self._called[stop], ""
            return self._shown(text[:at])
        keep = len(text) if final else len(text) - self._possible_stop(text)
        self._held = text[keep:]
        return self._shown(text[:keep])

    def _shown(self, text: str) -> str:
        return text.translate(self._marks) if self._marks else text

    def _possible_stop(self, text: str) -> int:
        """Length of the longest end of `text` with which a stop string begins."""
        start = max(0, len(text) - self._longest + 1)
        for at in range(start, len(text)):
            # Most characters begin no stop string, and this runs for every token.
            if text[at] in self._firsts and any(stop.startswith(text[at:]) for stop in self._stops):
                return len(text) - at
        return 0
