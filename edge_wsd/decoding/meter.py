"""Counts and times of one reply."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from edge_wsd.decoding.events import Source, Statistics


@dataclass(slots=True)
class Meter:
    """Started when it is made. Times are `time.perf_counter` seconds."""

    started_s: float = field(default_factory=time.perf_counter)
    first_token_s: float | None = None
    switched_s: float | None = None
    n_draft: int = 0
    n_accepted: int = 0
    base_passes: int = 0
    prompt_tokens: dict[Source, int] = field(default_factory=dict)
    reused_tokens: dict[Source, int] = field(default_factory=dict)

    def read_prompt(self, model: Source, *, n_tokens: int, n_reused: int) -> None:
        """A model's prompt has `n_tokens`, of which `n_reused` are in its memory already."""
        self.prompt_tokens[model], self.reused_tokens[model] = n_tokens, n_reused

    def token(self) -> None:
        """A token was shown."""
        if self.first_token_s is None:
            self.first_token_s = time.perf_counter()

    def switched(self, n_draft: int) -> None:
        """The base took over behind `n_draft` tokens."""
        self.switched_s = time.perf_counter()
        self.n_draft = n_draft

    def statistics(self, *, n_tokens: int, n_drafted: int) -> Statistics:
        """What was measured, at the end of a reply of `n_tokens`."""
        now = time.perf_counter()
        switched = now if self.switched_s is None else self.switched_s
        return Statistics(
            ttft_s=(self.first_token_s or now) - self.started_s,
            total_s=now - self.started_s,
            draft_tps=_rate(self.n_draft, switched - self.started_s),
            base_tps=_rate(n_tokens - self.n_draft, now - switched),
            n_tokens=n_tokens,
            n_draft=self.n_draft,
            n_drafted=n_drafted,
            n_accepted=self.n_accepted,
            base_passes=self.base_passes,
            drafter_prompt_tokens=self.prompt_tokens.get("drafter", 0),
            drafter_reused_tokens=self.reused_tokens.get("drafter", 0),
            base_prompt_tokens=self.prompt_tokens.get("base", 0),
            base_reused_tokens=self.reused_tokens.get("base", 0),
        )


def _rate(n: int, seconds: float) -> float | None:
    return n / seconds if n and seconds > 0 else None
