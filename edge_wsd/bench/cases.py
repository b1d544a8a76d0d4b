"""What is measured: who writes, how long prompt and answer are, where the base takes over, how many answers at once.

>>> [case.name for case in Sweep(prompts=(32,), proposals=(0, None)).cases()]
['base', 'drafter', 'wsd k=0', 'wsd k=auto']
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

from edge_wsd.decoding.options import Mode, Options

NEVER = 1 << 30
"""A switch that comes after any answer."""


@dataclass(frozen=True, slots=True)
class Workload:
    """What is asked: answers of `n_answer` tokens to prompts of `n_prompt` tokens, `at_once` of them together."""

    n_prompt: int
    n_answer: int
    at_once: int = 1


@dataclass(frozen=True, slots=True)
class BenchCase:
    """One row: a workload, and who answers it."""

    workload: Workload
    writer: Mode
    switch_at: int | None = None
    """Drafted tokens before the base takes over; None where one model writes alone, or the confidence decides."""
    propose: int | None = None
    """Tokens proposed in each round behind the switch; None for as many as pay."""

    @property
    def never_switches(self) -> bool:
        return self.switch_at is not None and self.switch_at >= self.workload.n_answer

    @property
    def name(self) -> str:
        """As a row is called."""
        if self.writer != "wsd" or self.never_switches:
            return self.writer
        return f"wsd k={'auto' if self.propose is None else self.propose}"

    def options(self) -> Options:
        """Options of one answer, which nothing but its length ends."""
        chosen = Options(mode=self.writer, max_tokens=self.workload.n_answer, stop_loops=False)
        if self.writer != "wsd":
            return chosen
        chosen = chosen.with_changes(max_draft=self.workload.n_answer, switch_at=self.switch_at)
        return chosen.with_changes(speculation=self.propose != 0, propose=self.propose)


Setting = tuple[int, int, "int | None", int]
"""Length of the prompt, length of the answer, switch, answers at once."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """Values to try. The first of each is kept while another is varied; `cross` tries all with all."""

    prompts: tuple[int, ...] = (32, 512)
    answers: tuple[int, ...] = (32,)
    switches: tuple[int | None, ...] = (6,)
    """None for the confidence to decide."""
    at_once: tuple[int, ...] = (1,)
    proposals: tuple[int | None, ...] = (0, None)
    cross: bool = False

    def cases(self) -> list[BenchCase]:
        """Every row once, those of a workload together; the base alone comes first of them."""
        found: dict[Workload, dict[BenchCase, None]] = {}
        for n_prompt, n_answer, switch_at, at_once in self._settings():
            workload = Workload(n_prompt, n_answer, at_once)
            rows = found.setdefault(workload, {BenchCase(workload, "base"): None, BenchCase(workload, "drafter"): None})
            switch = None if switch_at is None else min(switch_at, n_answer)
            for propose in self.proposals if switch != n_answer else (None,):
                rows[BenchCase(workload, "wsd", switch, propose)] = None
        return [case for rows in found.values() for case in rows]

    def _settings(self) -> list[Setting]:
        axes = (self.prompts, self.answers, self.switches, self.at_once)
        if self.cross:
            return list(product(*axes))
        first = tuple(axis[0] for axis in axes)
        varied = [(*first[:at], value, *first[at + 1 :]) for at, axis in enumerate(axes) for value in axis[1:]]
        return [first, *varied]  # type: ignore[list-item]


FULL = Sweep(prompts=(32, 512, 2048), answers=(256, 32), switches=(6, 32, 128, NEVER), at_once=(1, 4, 8))
