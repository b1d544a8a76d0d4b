"""Figures of a row: what each repetition gave, their medians and spreads, and ratios between interleaved rows."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Figures:
    """One repetition. None where a figure has no meaning or is not told."""

    answer_s: float
    """From asking to the end of the answer; of several at once, to the end of the last."""
    n_tokens: int
    """Tokens of the answer, or of all answers together."""
    ttft_s: float | None = None
    """From asking to the first text; the mean over answers at once."""
    drafter_prompt_tps: float | None = None
    """Prompt tokens per second of the passes in which the drafter reads them. So for the base."""
    drafter_decode_tps: float | None = None
    """Tokens behind the prompt per second of the drafter's passes over them: those that it writes, and those of the
    base that it reads. So for the base, which reads drafts and proposals."""
    base_prompt_tps: float | None = None
    base_decode_tps: float | None = None
    base_passes: float | None = None
    """Passes of the base for an answer."""
    accepted: float | None = None
    """Share of the tokens proposed behind the switch that were the base's own."""
    host_ms: float | None = None
    """Milliseconds per token in which llama.cpp does not compute."""
    resident_mib: float | None = None
    """Memory of the process with both models, after the row."""
    device_mib: float | None = None
    """Memory taken of the devices that have their own."""

    @property
    def token_s(self) -> float | None:
        """Seconds for a token of the answer, prompt included: compares answers of which one ended early."""
        return self.answer_s / self.n_tokens if self.n_tokens else None

    @property
    def answer_tps(self) -> float | None:
        """Tokens of answers per second, prompt included."""
        return self.n_tokens / self.answer_s if self.answer_s > 0 else None


NAMES = tuple(field.name for field in fields(Figures))


@dataclass(frozen=True, slots=True)
class Summary:
    """A figure over all repetitions."""

    median: float
    least: float
    most: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float | None]) -> Summary | None:
        """Of those that have such a figure; None if none has. Nothing is accepted where nothing was proposed."""
        known = [value for value in values if value is not None]
        if not known:
            return None
        return cls(statistics.median(known), min(known), max(known), len(known))

    @property
    def spread(self) -> float:
        """Half the distance from the least to the most."""
        return (self.most - self.least) / 2


def summary(figures: Sequence[Figures], name: str) -> Summary | None:
    """Of one figure or property, by its name."""
    return Summary.of([getattr(one, name) for one in figures])


def ratio(figures: Sequence[Figures], others: Sequence[Figures], name: str) -> Summary | None:
    """Each repetition over the other row's of the same round, so that a machine that drifts hits both alike."""
    pairs = zip((getattr(one, name) for one in figures), (getattr(other, name) for other in others), strict=False)
    shares = [one / other if one is not None and other else None for one, other in pairs]
    return Summary.of(shares)
