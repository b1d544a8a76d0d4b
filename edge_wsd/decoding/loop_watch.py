"""Detects a reply that has fallen into a loop: the same piece, so often that it will not end by itself.

>>> watch = LoopWatch(vocabulary.piece, "What is the capital of France?")
>>> [loop for token in tokens if (loop := watch.push(token))]
[Loop(n_tokens=14, n_times=9)]

How many repetitions are too many depends on what is repeated, since people ask for repetitions: lines, empty tables,
boards, rows of zeros, a sentence fifty times. The richer a piece is, the fewer of its repetitions are wanted.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass

LONGEST_PIECE = 256
"""Tokens."""
FEWEST_TIMES, MOST_TIMES = 4, 160
_ENOUGH_OF_PROSE, _ENOUGH_OF_OTHERS = 120, 480
"""Repetitions times different tokens in the piece. Code, tables and drawings repeat themselves more than sentences."""
_LETTERS_IN_PROSE = 0.75
"""Their share of everything that is not white space."""
_NO_PROSE = frozenset("|<>{}[]=;")
"""Characters of tables and code, even those with many letters."""
_REPEATED = re.compile(r"^(.+?)\1+$")
"""A word such as "haha", which is one token of somebody's "ha"."""

_LONGEST_REQUEST, _MOST_REQUESTED = 200, 1000
"""Numbers in a longer question, which is a text, are not requests; larger numbers are years and sums."""
_NUMBER = re.compile(r"(?<!\d)\d{1,4}(?!\d)")
_THOUSANDS = re.compile(r"(?<=\d)[,.'’](?=\d{3}(?!\d))")
_UNITS = {word: n for n, word in enumerate(["two", "three", "four", "five", "six", "seven", "eight", "nine"], start=2)}
_ROUND = {"ten": 10, "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "hundred": 100, "thousand": 1000}
_IN_WORDS = re.compile(rf"\b(?:({'|'.join(_UNITS)}) )?({'|'.join(_ROUND)})\b")


@dataclass(frozen=True, slots=True)
class Loop:
    """A piece of `n_tokens` tokens that came `n_times` in a row, at the end of the reply."""

    n_tokens: int
    n_times: int

    def __str__(self) -> str:
        piece = "token" if self.n_tokens == 1 else f"{self.n_tokens} tokens"
        return f"stopped in a loop: the same {piece} came {self.n_times} times in a row"


class LoopWatch:
    """One per reply. `piece` gives the bytes of a token; a number in a short `question` may ask for repetitions.

    Work per token: one step for each occurrence of the same token among the last `LONGEST_PIECE`.
    """

    def __init__(self, piece: Callable[[int], bytes], question: str = "") -> None:
        self._piece = piece
        self._question = question.casefold() if len(question) <= _LONGEST_REQUEST else ""
        self._requested = max((n for n in _numbers(self._question) if n <= _MOST_REQUESTED), default=0)
        self._tokens: list[int] = []
        self._places: defaultdict[int, deque[int]] = defaultdict(deque)
        self._runs: dict[int, int] = {}  # how many of the last tokens equal those at this distance before them

    def push(self, token: int) -> Loop | None:
        """Add the reply's next token; returns the loop that is complete with it."""
        at, places = len(self._tokens), self._places[token]
        while places and at - places[0] > LONGEST_PIECE:
            places.popleft()
        # A distance that is not among these has ended its run.
        self._runs = {at - place: self._runs.get(at - place, 0) + 1 for place in places}
        places.append(at)
        self._tokens.append(token)
        for distance, run in self._runs.items():
            n_times, rest = divmod(run + distance, distance)
            if rest == 0 and n_times >= FEWEST_TIMES and n_times >= self._enough(self._tokens[-distance:]):
                return Loop(distance, n_times)
        return None

    def cut(self, n: int) -> None:
        """Forget all but the first `n` tokens."""
        del self._tokens[n:]
        end = len(self._tokens)
        self._places = defaultdict(deque)
        for at in range(max(end - LONGEST_PIECE - 1, 0), end):
            self._places[self._tokens[at]].append(at)
        places = self._places[self._tokens[-1]] if self._tokens else ()
        self._runs = {end - 1 - at: self._run(end - 1 - at) for at in places if at < end - 1}

    def _run(self, distance: int) -> int:
        """How many of the last tokens equal those at this distance before them."""
        tokens = self._tokens
        at = last = len(tokens) - 1
        while at >= distance and tokens[at] == tokens[at - distance]:
            at -= 1
        return last - at

    def _enough(self, piece: list[int]) -> int:
        """How often this piece must occur in a row to be a loop."""
        text = b"".join(map(self._piece, piece)).decode("utf-8", errors="ignore")
        is_prose = _is_prose(text)
        n_times = math.ceil((_ENOUGH_OF_PROSE if is_prose else _ENOUGH_OF_OTHERS) / len(set(piece)))
        # A sentence is repeated on request if it is in the question; an empty line of a table need not be there.
        requested = 0 if is_prose and not self._has_words_of(text) else self._requested
        return max(FEWEST_TIMES, min(n_times, MOST_TIMES), requested + 1)

    def _has_words_of(self, text: str) -> bool:
        """Whether the question contains all words of a piece; a piece may begin inside a word."""
        words = (_REPEATED.sub(r"\1", word) for word in re.findall(r"\w+", text.casefold()))
        return all(word in self._question for word in words)


def _numbers(question: str) -> list[int]:
    """Those in digits, and round ones in English words: "five hundred times"."""
    digits = map(int, _NUMBER.findall(_THOUSANDS.sub("", question)))
    return [*digits, *(_UNITS.get(units, 1) * _ROUND[word] for units, word in _IN_WORDS.findall(question))]


def _is_prose(text: str) -> bool:
    if not _NO_PROSE.isdisjoint(text):
        return False
    visible = [character for character in text if not character.isspace()]
    # Vowels of Hindi or Thai are marks.
    n_letters = sum(unicodedata.category(character)[0] in "LM" for character in visible)
    return n_letters > 0 and n_letters >= _LETTERS_IN_PROSE * len(visible)
