"""A machine of given costs and acceptance, on which replies are written side by side: how long do they take?"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from edge_wsd.decoding.costs import Costs
from edge_wsd.decoding.pace import Pace, Proposals, Round
from edge_wsd.decoding.proposal import Proposal

LIMIT = 16
"""Proposals in a round, at most."""
PROMPT = 32
"""Tokens that the base reads before each answer, which are the same time for all."""
FIRST_PASS_S = 3.0
"""Of each model: weights come from the disk."""


@dataclass
class Machine:
    """Seconds of a pass of each model by its tokens, and the chance that the proposal behind n tokens is accepted."""

    base_s: Callable[[int], float]
    drafter_s: Callable[[int], float]
    acceptance: Callable[[int], float]
    read_s: float = 0.0
    knows_itself: bool = False
    """Whether the drafter is sure of some tokens and unsure of others, and says so."""
    costs: Costs = field(default_factory=Costs)
    pair: Proposals = field(default_factory=Proposals)
    noise: random.Random = field(default_factory=lambda: random.Random(1))

    def __post_init__(self) -> None:
        self._measure("base", 1, 1, FIRST_PASS_S)
        self._measure("drafter", 1, 1, FIRST_PASS_S)
        self._measure("drafter", 64, 1, self.drafter_s(1) + 63 * self.read_s, n_rows=1)

    def write(self, n_tokens: int, *, n_replies: int = 1, k: int | None = None, seed: int = 0) -> float:
        """Seconds until all replies have `n_tokens`, proposing `k` in each round or as many as the pace says."""
        chance = random.Random(seed)
        paces = [Pace(LIMIT, self.costs, self.pair, pinned=k) for _ in range(n_replies)]
        lengths, missed, total_s = [0] * n_replies, [0] * n_replies, 0.0
        self._measure("base", PROMPT * n_replies, n_replies, self.base_s(PROMPT * n_replies), n_rows=n_replies)
        while any(length < n_tokens for length in lengths):
            at_work = [i for i in range(n_replies) if lengths[i] < n_tokens]
            rounds = {i: paces[i].next() for i in at_work}
            proposals = {i: self._propose(rounds[i], lengths[i], chance) for i in at_work}
            took_s = dict.fromkeys(at_work, 0.0)
            for step in range(max(proposals[i][2] for i in at_work)):
                together = [i for i in at_work if proposals[i][2] > step]
                read = sum(missed[i] for i in together)
                seconds = self.drafter_s(len(together)) + read * self.read_s
                total_s += self._measure("drafter", len(together) + read, len(together), seconds, len(together))
                for i in together:
                    missed[i] = 0
                    took_s[i] += seconds / len(together)
            n_base = sum(len(proposals[i][0].tokens) + 1 for i in at_work)
            total_s += (seconds := self._measure("base", n_base, len(at_work), self.base_s(n_base)))
            for i in at_work:
                took_s[i] += seconds / len(at_work)
                proposal, n_accepted, n_steps = proposals[i]
                if rounds[i].n:
                    paces[i].record(rounds[i], proposal, n_accepted, took_s[i])
                else:
                    paces[i].skip(1)
                lengths[i] += n_accepted + 1
                missed[i] += not n_steps or n_accepted == n_steps  # its own last proposal it has not read either
        return total_s

    def _propose(self, asked: Round, length: int, chance: random.Random) -> tuple[Proposal, int, int]:
        """The proposal, how many of its tokens are accepted, and how many steps it took."""
        chances: list[float] = []
        n_accepted, n_steps, stands, unsure = 0, 0, True, False
        for i in range(asked.n):
            a = self.acceptance(length + i)
            sure = chance.random() < max(0.0, (a - 0.3) / 0.7) if self.knows_itself else True
            truth = (1.0 if sure else min(a, 0.3)) if self.knows_itself else a
            said = (0.99 if sure else 0.45) if self.knows_itself else 1.0
            n_steps += 1
            if unsure := said < asked.stop_below:
                break
            stands = stands and chance.random() < truth
            n_accepted += stands
            chances.append(said)
        return Proposal([0] * len(chances), chances, unsure=unsure), n_accepted, n_steps

    def _measure(self, source, n_tokens: int, n_replies: int, seconds: float, n_rows: int | None = None) -> float:
        """What the engine would have measured: a little noise, and now and then something else had the processor."""
        seen = seconds * self.noise.uniform(0.97, 1.03) * (4 if self.noise.random() < 0.03 else 1)
        n_rows = n_tokens if n_rows is None else n_rows
        self.costs.took(source, n_tokens=n_tokens, n_rows=n_rows, n_replies=n_replies, seconds=seen)
        return seconds
