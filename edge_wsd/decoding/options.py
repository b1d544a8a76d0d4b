"""Options of one reply. The only home of their defaults: the command line and the documentation read them from here.

>>> Options(threshold=0.7).window
6
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

from edge_wsd.errors import OptionError

Mode = Literal["wsd", "base", "drafter"]
MODES: tuple[str, ...] = get_args(Mode)

_NUMBERS = dict.fromkeys(("max_tokens", "window", "max_draft", "chunk", "switch_at", "top_k", "seed"), "whole")
_NUMBERS |= dict.fromkeys(("threshold", "temperature", "top_p", "min_p"), "real")
_MAY_BE_NONE = ("switch_at", "seed")
N_SEEDS = 2**32 - 1  # llama.cpp takes the last value for "any"


@dataclass(frozen=True)  # no slots: `Options.field` reads a default
class Options:
    """How a reply is written. Validated on construction; an `OptionError` names the option and its range."""

    mode: Mode = "wsd"
    max_tokens: int = 512
    """Longest reply in base tokens, exact."""
    threshold: float = 0.8
    """The base takes over once its windowed confidence reaches this."""
    window: int = 6
    """Number of drafted tokens the confidence is the geometric mean of."""
    max_draft: int = 512
    """Most tokens the drafter writes before the base must take over."""
    chunk: int = 8
    """Tokens the drafter proposes per round; the base scores them in one batch."""
    speculation: bool = True
    """After the switch the drafter goes on proposing. Changes speed, not the text."""
    switch_at: int | None = None
    """Force the switch after this many drafted tokens."""
    temperature: float = 0.0
    """0 is greedy."""
    top_k: int = 0
    """0 keeps every token."""
    top_p: float = 1.0
    min_p: float = 0.0
    seed: int | None = None
    """Same seed, same reply. None takes a new one each time."""
    stop: tuple[str, ...] = ()
    """Stop strings on top of those of the base's prompt template."""

    def __post_init__(self) -> None:
        given: object = self.stop  # a single string is meant whole, and not as a sequence of its characters
        object.__setattr__(self, "stop", (given,) if isinstance(given, str) else tuple(self.stop))
        for name, kind in _NUMBERS.items():
            value = getattr(self, name)
            right = isinstance(value, int if kind == "whole" else int | float) and not isinstance(value, bool)
            self._require(right or (value is None and name in _MAY_BE_NONE), name, f"a {kind} number")
        self._require(self.mode in MODES, "mode", f"one of {', '.join(MODES)}")
        self._require(self.max_tokens >= 1, "max_tokens", "at least 1")
        self._require(0.0 <= self.threshold <= 1.0, "threshold", "between 0 and 1")
        self._require(self.window >= 1, "window", "at least 1")
        self._require(self.max_draft >= 1, "max_draft", "at least 1")
        self._require(1 <= self.chunk <= 128, "chunk", "between 1 and 128")
        self._require(self.switch_at is None or self.switch_at >= 0, "switch_at", "at least 0")
        self._require(0.0 <= self.temperature <= 10.0, "temperature", "between 0 and 10")
        self._require(self.top_k >= 0, "top_k", "at least 0")
        self._require(0.0 < self.top_p <= 1.0, "top_p", "above 0 and at most 1")
        self._require(0.0 <= self.min_p < 1.0, "min_p", "at least 0 and below 1")
        self._require(self.seed is None or 0 <= self.seed < N_SEEDS, "seed", f"between 0 and {N_SEEDS - 1}")
        self._require(all(s and isinstance(s, str) for s in self.stop), "stop", "made of non-empty strings")

    def _require(self, holds: bool, name: str, expected: str) -> None:
        if not holds:  # a NaN fails every comparison, so it ends here too
            raise OptionError(f"{name} must be {expected}, not {getattr(self, name)!r}")

    def with_changes(self, **changes: Any) -> Options:
        """A copy with some fields changed. Raises `OptionError` for a name that is no option."""
        known = {field.name for field in fields(self)}
        for name in changes:
            if name not in known:
                raise OptionError(f"unknown option {name!r}; the options are {', '.join(sorted(known))}")
        return replace(self, **changes)
