"""Options of one reply. Their defaults are defined only here; the command line and the documentation read them.

>>> Options(threshold=0.7).window
6
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal, TypedDict, get_args

from edge_wsd import checks
from edge_wsd.errors import OptionError
from edge_wsd.gbnf import check_grammar
from edge_wsd.json_schema.grammar import grammar_of_schema
from edge_wsd.reading import parse_json

if TYPE_CHECKING:
    from typing_extensions import Unpack  # only type checkers need it; typing has it from 3.11 on

Mode = Literal["wsd", "base", "drafter"]
Rule = Literal["window", "nudge", "never"]
Proposers = Literal["drafter", "ngram", "both"]
RULES: tuple[str, ...] = get_args(Rule)
MODES: tuple[str, ...] = get_args(Mode)
OF_ONE_RULE: Mapping[str, Rule] = {
    "threshold": "window",
    "window": "window",
    "ignore_repeated": "window",
    "switch_at": "window",
    "nudge_below": "nudge",
}
"""Options that other rules ignore, or that change no text with them."""

Bias = tuple[int | str, float]
"""A token, by its id in the base or by its text, and the number added to its logit."""

GrammarFrom = Literal["switch", "start"]

MOST_ALTERNATIVES = 20
N_SEEDS = 2**32 - 1  # llama.cpp takes the last value for "any"


class OptionChanges(TypedDict, total=False):
    """Fields of `Options` as keyword arguments of `generate` and `with_changes`."""

    mode: Mode
    max_tokens: int
    rule: Rule
    threshold: float
    window: int
    ignore_repeated: bool
    nudge_below: float
    max_draft: int
    chunk: int | None
    speculation: bool
    proposers: Proposers
    propose: int | None
    switch_at: int | None
    temperature: float
    top_k: int
    top_p: float
    min_p: float
    seed: int | None
    repeat_penalty: float
    repeat_last_n: int
    presence_penalty: float
    frequency_penalty: float
    logit_bias: Mapping[int | str, float] | Iterable[Bias | str]
    grammar: str | None
    json_schema: str | Mapping[str, Any] | None
    grammar_from: GrammarFrom
    stop: str | Iterable[str]
    stop_loops: bool
    top_logprobs: int
    special: bool


@dataclass(frozen=True)  # no slots: `Options.field` reads a default
class Options:
    """How to write a reply. Validated on construction; an `OptionError` names the option and its range."""

    mode: Mode = "wsd"
    max_tokens: int = 512
    """Maximum length of the reply in base tokens, exact."""
    rule: Rule = "window"
    """When the base takes over. `window`: once it is confident in what the drafter writes, for good. `nudge`: wherever
    it is sure of its next token; where it is not, the drafter writes a word. `never`: the drafter writes the whole
    reply, and the base only scores it, for whoever asks what other settings would have done."""
    threshold: float = 0.8
    """The base takes over once its confidence over the window reaches this. For the rule `window`, like `window`,
    `ignore_repeated` and `switch_at`."""
    window: int = 6
    """How many drafted tokens the confidence is averaged over (geometric mean)."""
    ignore_repeated: bool = False
    """Leave drafted tokens that only repeat the question or the draft out of the confidence. The paper counts them."""
    nudge_below: float = 0.4
    """For the rule `nudge`: the base is unsure if its likeliest token has a probability below this."""
    max_draft: int = 512
    """Maximum number of tokens the drafter writes before the base must take over."""
    chunk: int | None = None
    """Tokens the drafter writes before the base scores them in one batch, until the switch. None: as many as measured
    costs and the switches of earlier replies say."""
    speculation: bool = True
    """After the switch the drafter keeps proposing. This changes the speed, and the text only where rounding decides:
    never if both models are `exact` (`ModelSettings`)."""
    proposers: Proposers = "drafter"
    """Who proposes tokens to the model that finishes the reply: the drafter; `ngram`, a lookup of what followed the
    same tokens before, in prompt and reply, also where one model writes alone; or `both`, the lookup first."""
    propose: int | None = None
    """Tokens that the drafter proposes in each round after the switch. None: as many as measured costs and acceptance
    say; 0 for none."""
    switch_at: int | None = None
    """Force the switch after this many drafted tokens."""
    temperature: float = 0.0
    """0 is greedy."""
    top_k: int = 0
    """0 keeps every token."""
    top_p: float = 1.0
    min_p: float = 0.0
    seed: int | None = None
    """The same seed gives the same reply. None draws a new seed each time."""
    repeat_penalty: float = 1.0
    """Divides the logits of tokens that already occurred (multiplies negative ones), also at temperature 0. 1 is off.

    Penalties and biases change what is chosen, never the confidence or the log-probabilities of a reply.
    """
    repeat_last_n: int = 64
    """How many of the latest tokens of prompt and reply the three penalties look at; -1 for all, 0 for none."""
    presence_penalty: float = 0.0
    """Subtracted from the logits of tokens that already occurred."""
    frequency_penalty: float = 0.0
    """Subtracted from the logits of tokens that already occurred, once for each occurrence."""
    logit_bias: tuple[Bias, ...] = ()
    """Numbers added to the logits of tokens, such as `{"Sure": -5, 15043: -math.inf}`; -inf forbids a token.

    A key is an id of the base, or a text, which means every token that it is split into, in either vocabulary. Ids
    apply to the drafter if it has the base's vocabulary. A string `TOKEN=BIAS` is read as on the command line.
    """
    grammar: str | None = None
    """A grammar in llama.cpp's format, GBNF, that the reply must follow."""
    json_schema: str | None = None
    """A JSON schema that the reply must follow, as text or as a mapping; an alternative to `grammar`."""
    grammar_from: GrammarFrom = "switch"
    """Where the grammar begins to apply: after the switch, or with the draft. To one model alone it always applies."""
    stop: tuple[str, ...] = ()
    """Stop strings in addition to those of the base's prompt template. The text of a control token, alone or
    inside another text, stops at that token."""
    stop_loops: bool = True
    """End a reply that repeats the same piece so often that it will not end by itself. `Reply.note` says so."""
    top_logprobs: int = 0
    """How many of the likeliest tokens `Token.top` tells at each position, with log-probabilities; at most 20. The base
    then reads also a draft that is cut off before its turn, so that each token has a log-probability."""
    special: bool = False
    """Turn text in messages such as `<|im_end|>` into control tokens; otherwise it stays text."""

    def __post_init__(self) -> None:
        checks.require_choice("mode", self.mode, MODES)
        checks.require_choice("rule", self.rule, RULES)
        checks.require_choice("proposers", self.proposers, get_args(Proposers))
        for name, low, high in (
            ("max_tokens", 1, checks.LARGEST),
            ("window", 1, checks.LARGEST),
            ("max_draft", 1, checks.LARGEST),
            ("top_k", 0, checks.LARGEST),
            ("repeat_last_n", -1, checks.LARGEST),
            ("top_logprobs", 0, MOST_ALTERNATIVES),
        ):
            checks.require_whole(name, getattr(self, name), low, high)
        checks.require_whole("switch_at", self.switch_at, 0, or_none=True)
        checks.require_whole("chunk", self.chunk, 1, 128, or_none=True)
        checks.require_whole("propose", self.propose, 0, 128, or_none=True)
        checks.require_whole("seed", self.seed, 0, N_SEEDS - 1, or_none=True)
        for name in ("ignore_repeated", "speculation", "stop_loops", "special"):
            checks.require_flag(name, getattr(self, name))
        penalties = ("repeat_penalty", "presence_penalty", "frequency_penalty")
        for name in ("threshold", "nudge_below", "temperature", "top_p", "min_p", *penalties):
            checks.require_number(name, getattr(self, name))
        for name, holds, expected in (  # a NaN fails every comparison
            ("threshold", 0.0 <= self.threshold <= 1.0, "between 0 and 1"),
            ("nudge_below", 0.0 < self.nudge_below <= 1.0, "above 0 and at most 1"),
            ("temperature", 0.0 <= self.temperature <= 10.0, "between 0 and 10"),
            ("top_p", 0.0 < self.top_p <= 1.0, "above 0 and at most 1"),
            ("min_p", 0.0 <= self.min_p < 1.0, "at least 0 and below 1"),
            ("repeat_penalty", 0.01 <= self.repeat_penalty <= 100.0, "between 0.01 and 100"),
            ("presence_penalty", abs(self.presence_penalty) <= 100.0, "between -100 and 100"),
            ("frequency_penalty", abs(self.frequency_penalty) <= 100.0, "between -100 and 100"),
        ):
            checks.require(holds, name, expected, getattr(self, name))
        if self.rule == "nudge" and self.has_grammar:
            raise OptionError('grammar belongs to the rule "window"; with "nudge" both models write in one sentence')
        if self.rule == "nudge" and self.switch_at is not None:
            raise OptionError('switch_at belongs to the rule "window"; with "nudge" the base takes over many times')
        if self.rule == "never" and self.switch_at is not None:
            raise OptionError('switch_at belongs to the rule "window"; with "never" the drafter writes the whole reply')
        object.__setattr__(self, "stop", _stop_strings(self.stop))
        object.__setattr__(self, "logit_bias", _biases(self.logit_bias))
        checks.require_choice("grammar_from", self.grammar_from, get_args(GrammarFrom))
        checks.require(self.grammar is None or isinstance(self.grammar, str), "grammar", "GBNF text", self.grammar)
        if self.grammar is not None:
            check_grammar(self.grammar)
        object.__setattr__(self, "json_schema", _schema(self.json_schema))
        one = self.grammar is None or self.json_schema is None
        if not one:
            raise OptionError("json_schema cannot be used together with a grammar; give one of the two")

    @property
    def is_greedy(self) -> bool:
        """Whether the most probable token is always chosen."""
        return self.temperature == 0 and not self.logit_bias and not self.has_penalties and not self.has_grammar

    @property
    def has_grammar(self) -> bool:
        return self.grammar is not None or self.json_schema is not None

    @property
    def has_penalties(self) -> bool:
        shares = (self.repeat_penalty != 1, self.presence_penalty != 0, self.frequency_penalty != 0)
        return self.repeat_last_n != 0 and any(shares)

    def with_changes(self, **changes: Unpack[OptionChanges]) -> Options:
        """A copy with some fields changed. Raises `OptionError` for a name that is not an option."""
        known = {field.name for field in fields(self)}
        given: dict[str, Any] = {**changes}
        for name in given:
            if name not in known:
                raise OptionError(f"unknown option {name!r}; the options are {', '.join(sorted(known))}")
        return replace(self, **given)


def _stop_strings(given: object) -> tuple[str, ...]:
    """A single string is one stop string, not a sequence of characters."""
    checks.require(isinstance(given, Iterable), "stop", "a string or a list of strings", given)
    assert isinstance(given, Iterable)
    strings = (given,) if isinstance(given, str) else tuple(given)
    checks.require(all(isinstance(text, str) and text for text in strings), "stop", "made of non-empty strings", given)
    whole = all(checks.half_character_at(text) is None for text in strings)
    checks.require(whole, "stop", "made of whole characters", given)
    return strings


def _schema(given: object) -> str | None:
    if given is None:
        return None
    expected = "a JSON schema, as text or a mapping"
    text = given if isinstance(given, str) else ""
    try:
        if isinstance(given, Mapping):
            text = json.dumps(given, allow_nan=False)
        known = isinstance(parse_json(text), dict)
    except (TypeError, ValueError, RecursionError):
        known = False
    checks.require(known, "json_schema", expected, given)
    grammar_of_schema(text)
    return text


def parse_bias(text: str) -> Bias:
    """Parses `TOKEN=BIAS`. Digits are a token's id; a text in double quotes is that text. Raises `OptionError`."""
    token, equals, bias = text.rpartition("=")
    try:
        number = float(bias)
    except ValueError:
        equals = ""
    checks.require(bool(equals and token), "logit_bias", "TOKEN=BIAS, where BIAS is a number", text)
    if len(token) > 2 and token[0] == token[-1] == '"':
        return token[1:-1], number
    return (int(token) if token.isascii() and token.isdigit() and len(token) < 11 else token), number


def _biases(given: object) -> tuple[Bias, ...]:
    expected = "a mapping of token ids or texts to numbers, or a list of TOKEN=BIAS"
    checks.require(isinstance(given, Iterable) and not isinstance(given, bytes), "logit_bias", expected, given)
    assert isinstance(given, Iterable)
    parts = (given,) if isinstance(given, str) else given.items() if isinstance(given, Mapping) else given
    return tuple(_bias(parse_bias(part) if isinstance(part, str) else part) for part in parts)


def _bias(given: object) -> Bias:
    expected = "made of token ids or texts, each with a number"
    checks.require(isinstance(given, tuple | list) and len(given) == 2, "logit_bias", expected, given)
    assert isinstance(given, tuple | list)
    token, number = given
    is_id = isinstance(token, int) and not isinstance(token, bool) and 0 <= token <= checks.LARGEST
    is_text = isinstance(token, str) and token and checks.half_character_at(token) is None
    checks.require(bool(is_id or is_text), "logit_bias", expected, given)
    checks.require(isinstance(number, int | float) and not isinstance(number, bool), "logit_bias", expected, given)
    holds = abs(number) <= 1000 or number == -math.inf
    checks.require(holds, "logit_bias", "made of biases between -1000 and 1000, or -inf to forbid a token", number)
    return token, float(number)


def checked_options(given: Options | None, default: Options) -> Options:
    """`given`, or `default` for None. Raises `OptionError` for anything else, such as a dictionary."""
    options: object = default if given is None else given
    checks.require(isinstance(options, Options), "options", "an Options object", options)
    return default if given is None else given
