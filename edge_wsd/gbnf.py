"""Grammars in llama.cpp's form, GBNF, checked before llama.cpp sees them.

llama.cpp prints what it cannot parse, and what it can parse may end the process: brackets are parsed by recursion, a
rule that begins with itself grows for ever, `"a"{5,3}` makes 2^64 rules. So a text is parsed here to the same rules.

>>> check_grammar('root ::= "yes" | "no"')
()
"""

from __future__ import annotations

import re
from graphlib import CycleError, TopologicalSorter

from edge_wsd.checks import half_character_at
from edge_wsd.errors import OptionError

MOST_CHARACTERS = 1 << 18
MOST_ELEMENTS = 100_000
"""Characters, classes and names, once all repetitions are written out."""
MOST_BRACKETS = 100
MOST_REPETITIONS = 2000
"""llama.cpp's own bound."""
MOST_WAYS = 200_000
"""Ways into the beginnings of rules. llama.cpp walks each of them, so `a ::= b | b` forty times would take for ever."""
MOST_DEPTH = 2000
"""Rules that begin with one another, each of which llama.cpp enters by recursion."""

_SPACE = re.compile(r"(?:[ \t]|#[^\r\n]*)*")
_LINES = re.compile(r"(?:[ \t\r\n]|#[^\r\n]*)*")
_NAME = re.compile(r"[A-Za-z0-9-]+")
_ESCAPE = r"\\(?:x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|[trn\\\"\[\]-])"
_LITERAL = re.compile(rf'"((?:{_ESCAPE}|[^\\"])*)"')
_CLASS = re.compile(rf"\[\^?((?:{_ESCAPE}|[^\\\]])*)\]")
_CHARACTER = re.compile(rf"{_ESCAPE}|[^\\]", re.DOTALL)
_TOKEN = re.compile(r"!?(<(?:\[\d{1,9}\]|[^\[>][^>]*)>)")
_TIMES = re.compile(r"\{[ \t]*(\d{1,9})[ \t]*(,?)[ \t]*(\d{0,9})[ \t]*\}")

Symbols = list[str | int]
"""What stands behind each other: names of rules, and numbers of characters or tokens."""


def check_grammar(text: str) -> tuple[str, ...]:
    """The tokens that the grammar names, such as `<|im_end|>`. Raises `OptionError` that tells line and cause."""
    if len(text) > MOST_CHARACTERS:
        raise OptionError(f"grammar must be at most {MOST_CHARACTERS} characters long, not {len(text)}")
    if "\0" in text or half_character_at(text) is not None:
        raise OptionError("grammar must be text, without NUL characters and half characters")
    parser = _Parser(text)
    parser.parse()
    _check_beginnings(parser)
    return tuple(dict.fromkeys(parser.tokens))


class _Parser:
    """Makes the same rules of a text as llama.cpp. Names with a space in front are those of groups and repetitions."""

    def __init__(self, text: str) -> None:
        self.rules: dict[str, list[Symbols]] = {}
        self.places: dict[str, int] = {}
        """Where each name stands first."""
        self.tokens: list[str] = []
        self._text = text
        self._at = 0
        self._n_made = 0
        self._n_elements = 0

    def parse(self) -> None:
        self._skip(_LINES)
        while self._at < len(self._text):
            self._rule()
        for name, place in self.places.items():
            if name not in self.rules:
                raise self.error(f"there is no rule {name!r}", place)
        if "root" not in self.rules:
            raise OptionError("grammar must be GBNF with a rule named 'root', at which it begins")

    def error(self, cause: str, place: int | None = None) -> OptionError:
        line = self._text.count("\n", 0, self._at if place is None else place) + 1
        return OptionError(f"grammar must be GBNF; line {line}: {cause}")

    def _rule(self) -> None:
        name = self._name()
        self._skip(_SPACE)
        if not self._text.startswith("::=", self._at):
            raise self.error(f"'::=' is expected after {name!r}")
        self._at += 3
        self._skip(_LINES)
        self.rules[name] = self._alternatives(0)
        if self._at < len(self._text) and self._text[self._at] not in "\r\n":
            raise self.error(f"a rule ends with its line, and {self._text[self._at]!r} has no place here")
        self._skip(_LINES)

    def _name(self) -> str:
        found = _NAME.match(self._text, self._at)
        if found is None:
            raise self.error("the name of a rule is expected")
        self.places.setdefault(found[0], self._at)
        self._at = found.end()
        return found[0]

    def _alternatives(self, depth: int) -> list[Symbols]:
        found = [self._sequence(depth)]
        while self._text.startswith("|", self._at):
            self._at += 1
            self._skip(_LINES)
            found.append(self._sequence(depth))
        return found

    def _sequence(self, depth: int) -> Symbols:
        sequence: Symbols = []
        last, n_rules = 0, 1  # where the last symbol begins, and of how many rules it is made
        while self._at < len(self._text):
            character = self._text[self._at]
            if character in "*+?{":
                low, high = self._times(character)
                n_rules = self._repeat(sequence, last, n_rules, low, high)
            else:
                before, start = len(self.places) + self._n_made, len(sequence)
                if not self._symbol(character, sequence, depth):
                    break
                last = start
                n_rules = max(1, len(self.places) + self._n_made - before) if character == "(" else 1
            self._skip(_LINES if depth else _SPACE)
        return sequence

    def _symbol(self, character: str, sequence: Symbols, depth: int) -> bool:
        """Adds what begins at this place; False if nothing does."""
        if character == "(":
            sequence.append(self._group(depth + 1))
        elif _NAME.match(character):
            sequence.append(self._name())
        elif character == ".":
            self._at += 1
            sequence.append(1)
        elif character == '"':
            content = self._match(_LITERAL, "a text in double quotes, with a quote at its end")[1]
            if content:
                sequence.append(len(_CHARACTER.findall(content)))
        elif character == "[":
            content = self._match(_CLASS, "characters in square brackets, with a bracket at their end")[1]
            if content:
                sequence.append(len(_CHARACTER.findall(content)))
        elif character in "<!":
            self.tokens.append(self._match(_TOKEN, "a token, as <|name|> or <[id]>")[1])
            sequence.append(1)
        else:
            return False
        self._count(sequence[-1:])
        return True

    def _group(self, depth: int) -> str:
        if depth > MOST_BRACKETS:
            raise self.error(f"more than {MOST_BRACKETS} brackets are open")
        self._at += 1
        self._skip(_LINES)
        name = self._made()
        self.rules[name] = self._alternatives(depth)
        if not self._text.startswith(")", self._at):
            raise self.error("')' is expected")
        self._at += 1
        return name

    def _times(self, character: str) -> tuple[int, int | None]:
        if character != "{":
            self._at += 1
            return {"*": (0, None), "+": (1, None), "?": (0, 1)}[character]
        found = self._match(_TIMES, "how often something may come, as {2}, {2,} or {2,5}")
        low = int(found[1])
        high = int(found[3]) if found[3] else None if found[2] else low
        if low > MOST_REPETITIONS or (high is not None and high < low):
            raise self.error(f"{found[0]} is expected to be in order, and at most {MOST_REPETITIONS} times")
        return low, None if high is None or high > MOST_REPETITIONS else high

    def _repeat(self, sequence: Symbols, last: int, n_rules: int, low: int, high: int | None) -> int:
        """Writes a repetition of the last symbol out. Returns of how many rules it is made then."""
        symbol = sequence[last:]
        if not symbol:
            raise self.error("a repetition must follow what it repeats")
        n_rules *= high or low or 1
        if n_rules > MOST_REPETITIONS:
            raise self.error(f"repetitions in one another make {n_rules} rules; expected at most {MOST_REPETITIONS}")
        self._count(symbol, max(low - 1, 0) + (1 if high is None else high - low))
        del sequence[last:]
        sequence += symbol * low
        behind: str | None = None
        for _ in range(1 if high is None else high - low):
            made = self._made()
            rest = made if high is None else behind
            self.rules[made] = [[*symbol, rest] if rest else symbol, []]
            behind = made
        if behind:
            sequence.append(behind)
        return n_rules

    def _count(self, symbols: Symbols, times: int = 1) -> None:
        self._n_elements += times * sum(each if isinstance(each, int) else 1 for each in symbols)
        if self._n_elements > MOST_ELEMENTS:
            raise self.error(f"with its repetitions written out it is longer than {MOST_ELEMENTS} characters and names")

    def _made(self) -> str:
        self._n_made += 1
        return f" {self._n_made}"

    def _match(self, pattern: re.Pattern[str], expected: str) -> re.Match[str]:
        found = pattern.match(self._text, self._at)
        if found is None:
            raise self.error(f"{expected}, is expected" if "," in expected else f"{expected} is expected")
        self._at = found.end()
        return found

    def _skip(self, pattern: re.Pattern[str]) -> None:
        found = pattern.match(self._text, self._at)
        assert found is not None
        self._at = found.end()


def _check_beginnings(parser: _Parser) -> None:
    """Refuses rules that can begin with themselves, and beginnings in too many ways."""
    beginnings = _beginnings(parser.rules)
    try:
        order = list(TopologicalSorter(beginnings).static_order())
    except CycleError as error:
        name = next((name for name in error.args[1] if name in parser.places), "root")
        raise parser.error(f"rule {name!r} can begin with itself (left recursion)", parser.places.get(name)) from None
    ways: dict[str, int] = {}
    depths: dict[str, int] = {}
    for name in order:
        ways[name] = 1 + sum(ways[each] for each in beginnings[name])
        depths[name] = 1 + max((depths[each] for each in beginnings[name]), default=0)
        if ways[name] > MOST_WAYS or depths[name] > MOST_DEPTH:
            raise parser.error(
                "its rules can begin in too many ways; make them less ambiguous", parser.places.get(name)
            )


def _beginnings(rules: dict[str, list[Symbols]]) -> dict[str, list[str]]:
    """The rules that each one may begin with. A repetition's own tail is none: it adds nothing to what is open."""
    empty = _empty_rules(rules)
    found: dict[str, list[str]] = {name: [] for name in rules}
    for name, alternatives in rules.items():
        for sequence in alternatives:
            for part in sequence:
                if isinstance(part, int):
                    break
                if part != name or not name.startswith(" "):
                    found[name].append(part)
                if part not in empty:
                    break
    return found


def _empty_rules(rules: dict[str, list[Symbols]]) -> set[str]:
    """The rules that can stand for no text at all."""
    empty: set[str] = set()
    ready: list[str] = []
    left: dict[tuple[str, int], int] = {}
    """Of each sequence of names, how many are not known to be empty yet."""
    users: dict[str, list[tuple[str, int]]] = {name: [] for name in rules}
    for name, alternatives in rules.items():
        for index, sequence in enumerate(alternatives):
            if not sequence:
                ready.append(name)
            names = [part for part in sequence if isinstance(part, str)]
            if len(names) < len(sequence):
                continue
            left[name, index] = len(names)
            for part in names:
                users[part].append((name, index))
    while ready:
        name = ready.pop()
        if name in empty:
            continue
        empty.add(name)
        for user in users[name]:
            left[user] -= 1
            if left[user] == 0:
                ready.append(user[0])
    return empty
