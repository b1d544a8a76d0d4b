"""Which two models are loaded, and how: all that a process needs to know to load them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import get_args

from edge_wsd import checks
from edge_wsd.engine.engine import LONGEST_QUEUE
from edge_wsd.llama.settings import AUTO, ModelSettings, Overlap

PairProgress = Callable[[str, float], None]
"""Called with a stage and a fraction from 0 to 1. The stages are "probe", in which a child process tries the files
that were not tried before, "drafter" and "base".
"""


@dataclass(frozen=True, slots=True)
class PairSettings:
    """Arguments of `Pair.load`, which explains them. Validated on construction: before anything is loaded."""

    name: str
    drafter: str
    base: str
    drafter_settings: ModelSettings = field(default_factory=ModelSettings)
    base_settings: ModelSettings = field(default_factory=ModelSettings)
    drafter_template: str = "chat"
    base_template: str = "plain"
    parallel: int = 1
    longest_queue: int = LONGEST_QUEUE
    workers: tuple[str, ...] = ()
    overlap: Overlap = AUTO

    def __post_init__(self) -> None:
        checks.require_choice("overlap", self.overlap, get_args(Overlap))
        _ = self.model_settings

    @property
    def model_settings(self) -> tuple[ModelSettings, ModelSettings]:
        """The drafter's and the base's settings, with what the pair decides for both."""
        drafter, base = (replace(one, parallel=self.parallel) for one in (self.drafter_settings, self.base_settings))
        return drafter, replace(base, workers=tuple(self.workers)) if self.workers else base
