"""Counts and times of one reply."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from edge_wsd.decoding.events import Source, Statistics
from edge_wsd.decoding.proposal import PROPOSERS, Proposal, ProposerName
from edge_wsd.decoding.protocols import CachedSequence


@dataclass(slots=True)
class Meter:
    """Starts when it is created. Times are `time.perf_counter` seconds."""

    started_s: float = field(default_factory=time.perf_counter)
    _drafting_since_s: float | None = field(init=False)
    queued_s: float = 0.0
    """Time spent waiting for its turn; not counted as work."""
    draft_s: float | None = None
    """Working time up to the switch."""
    n_hand_overs: int = 0
    n_until_switch: int = 0
    """Tokens from the passes up to the switch: the draft, and what those passes had already settled after it."""
    n_drafted: int = 0
    n_accepted: int = 0
    n_proposed: dict[ProposerName, int] = field(default_factory=lambda: dict.fromkeys(PROPOSERS, 0))
    n_proposed_accepted: dict[ProposerName, int] = field(default_factory=lambda: dict.fromkeys(PROPOSERS, 0))
    base_passes: int = 0
    prompt_tokens: dict[Source, int] = field(default_factory=dict)
    sequences: dict[Source, CachedSequence] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._drafting_since_s = self.started_s

    def begin(self, asked_s: float) -> None:
        """The reply's turn has come, after waiting since `asked_s`."""
        self.queued_s = time.perf_counter() - asked_s
        if self._drafting_since_s is not None:
            self._drafting_since_s += self.queued_s

    def read_prompt(self, model: Source, *, n_tokens: int, sequence: CachedSequence) -> None:
        """A model's prompt has `n_tokens`, and is read into `sequence`, which knows how many of them it found there."""
        self.prompt_tokens[model], self.sequences[model] = n_tokens, sequence

    def proposed(self, proposal: Proposal) -> None:
        """The base is to read these tokens, and may choose them itself."""
        self.n_proposed[proposal.proposer] += len(proposal.tokens)
        if proposal.proposer == "drafter":
            self.n_drafted += len(proposal.tokens)

    def accepted(self, proposer: ProposerName | None) -> None:
        """The base has chosen a token that was proposed, or that stood in the draft behind the switch (None)."""
        if proposer is not None:
            self.n_proposed_accepted[proposer] += 1
        if proposer != "ngram":
            self.n_accepted += 1

    def switched(self) -> None:
        """The base takes over."""
        if self._drafting_since_s is not None:
            self.draft_s = (self.draft_s or 0.0) + time.perf_counter() - self._drafting_since_s
        self._drafting_since_s = None

    def handed_over(self) -> None:
        """The drafter's turn begins."""
        self.n_hand_overs += 1
        if self._drafting_since_s is None:
            self._drafting_since_s = time.perf_counter()

    def statistics(self, *, n_tokens: int, n_draft: int, first_shown_s: float | None = None) -> Statistics:
        """What was measured, at the end of a reply of `n_tokens` whose first `n_draft` the drafter wrote."""
        now, worked_s = time.perf_counter(), self._worked_s()
        draft_s = worked_s if self.draft_s is None else self.draft_s
        return Statistics(
            ttft_s=(first_shown_s or now) - self.started_s,
            total_s=now - self.started_s,
            draft_tps=_rate(n_draft, draft_s),
            base_tps=_rate(n_tokens - self.n_until_switch, worked_s - draft_s) if self.n_until_switch else None,
            n_tokens=n_tokens,
            n_draft=n_draft,
            n_hand_overs=self.n_hand_overs,
            # A reply may end before the base has read the draft.
            n_drafted=max(self.n_drafted, n_draft),
            n_accepted=max(self.n_accepted, n_draft),
            n_proposed=dict(self.n_proposed),
            n_proposed_accepted=dict(self.n_proposed_accepted),
            base_passes=self.base_passes,
            drafter_prompt_tokens=self.prompt_tokens.get("drafter", 0),
            drafter_reused_tokens=self._n_reused("drafter"),
            base_prompt_tokens=self.prompt_tokens.get("base", 0),
            base_reused_tokens=self._n_reused("base"),
            queued_s=self.queued_s,
        )

    def _n_reused(self, model: Source) -> int:
        return self.sequences[model].n_reused if model in self.sequences else 0

    def _worked_s(self) -> float:
        return time.perf_counter() - self.started_s - self.queued_s


def _rate(n: int, seconds: float) -> float | None:
    return n / seconds if n > 0 and seconds > 0 else None
