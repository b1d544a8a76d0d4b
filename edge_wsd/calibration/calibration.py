"""Drafts for many prompts, written and scored once each, and what every setting would have made of them.

>>> Calibrator(pair, ["How do I list files by size?", "How do I stop a process?"]).run().verdict.recommended
WindowSetting(threshold=0.8, window=6, ignore_repeated=False)
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from edge_wsd.batch import Batch, BatchPrompt
from edge_wsd.calibration.draft import ScoredDraft, scoring_options
from edge_wsd.calibration.nudged import NudgeRow, nudge_row
from edge_wsd.calibration.settings import SettingGrid
from edge_wsd.calibration.sweep import SettingRow, sweep
from edge_wsd.calibration.verdict import PairVerdict, judge_pair
from edge_wsd.decoding.options import Options
from edge_wsd.errors import CalibrationError
from edge_wsd.prompts.messages import Message

if TYPE_CHECKING:
    from edge_wsd.pair import Pair

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a sweep over prompts has found."""

    drafts: tuple[ScoredDraft, ...]
    """Of the prompts that have one, in their order; empty drafts are left out."""
    n_empty: int
    """Prompts to which the drafter wrote nothing that the base could score."""
    failures: tuple[tuple[Any, Exception], ...]
    """Prompts that could not be answered, and why."""
    rows: tuple[SettingRow, ...]
    """Of the rule `window`."""
    nudges: tuple[NudgeRow, ...]
    """Of the rule `nudge`; none where nothing can be known of it: tokens are drawn, or the vocabularies differ."""
    verdict: PairVerdict

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "n_drafts": len(self.drafts),
            "n_empty": self.n_empty,
            "n_failed": len(self.failures),
            "draft_tokens": sum(map(len, self.drafts)),
            "settings": [row.as_dict() for row in self.rows],
            "nudges": [{"rule": "nudge", **asdict(row)} for row in self.nudges],
            "verdict": self.verdict.as_dict(),
        }


class Calibrator(Generic[T]):
    """A draft for each prompt, written and scored once, as many at once as the pair was loaded for.

    Iterate over it to watch the work: it yields each prompt that is done. Can be iterated only once.
    """

    def __init__(
        self,
        pair: Pair,
        prompts: Iterable[T],
        prompt_of: Callable[[T], BatchPrompt] | None = None,
        *,
        system: str | None = None,
        options: Options | None = None,
    ) -> None:
        """`options` say how drafts are written (length, sampling); `prompt_of` makes an item what `Batch` takes."""
        options = scoring_options(options or pair.options)
        self._knows_nudges = options.is_greedy and pair.vocabulary.same
        self._batch = Batch(pair, prompts, partial(_question, prompt_of), system=system, options=options)
        self._drafts: list[ScoredDraft] = []
        self._failures: list[tuple[T, Exception]] = []
        self._n_empty = 0

    def __iter__(self) -> Generator[T, None, None]:
        with closing(iter(self._batch)) as answers:
            for item, reply in answers:
                if isinstance(reply, Exception):
                    self._failures.append((item, reply))
                elif draft := ScoredDraft.of(reply):
                    self._drafts.append(draft)
                else:
                    self._n_empty += 1
                yield item

    def cancel(self) -> None:
        """End the iteration within one decode, from any thread. A draft that is not whole is dropped."""
        self._batch.cancel()

    def run(self, grid: SettingGrid | None = None) -> Calibration:
        """The result, once every prompt is done. Raises `CalibrationError` if none of them has a draft."""
        for _ in self:
            pass
        return self.result(grid)

    def result(self, grid: SettingGrid | None = None) -> Calibration:
        """What the settings of `grid` would have made of the drafts that there are; raises as `run` does."""
        if not self._drafts:
            raise CalibrationError(_why_none(self._n_empty, self._failures))
        grid = grid or SettingGrid()
        rows = tuple(sweep(self._drafts, grid))
        nudges = tuple(nudge_row(value, self._drafts) for value in grid.nudges) if self._knows_nudges else ()
        return Calibration(tuple(self._drafts), self._n_empty, tuple(self._failures), rows, nudges, judge_pair(rows))


def _question(prompt_of: Callable[[T], BatchPrompt] | None, item: Any) -> BatchPrompt:
    """What to ask. The base also scores a given beginning of an answer, but no reply tells those scores."""
    prompt: BatchPrompt = item if prompt_of is None else prompt_of(item)
    if not isinstance(prompt, str) and prompt:
        last = prompt[-1]
        if (last.role if isinstance(last, Message) else last.get("role")) == "assistant":
            raise CalibrationError("it ends with an assistant message; only what ends with a user message can be used")
    return prompt


def _why_none(n_empty: int, failures: Sequence[tuple[Any, Exception]]) -> str:
    if failures:
        return f"none of the prompts could be answered; the first: {failures[0][1]}"
    if n_empty:
        return "the drafter wrote nothing to any of the prompts; look at its template (--drafter-template)"
    return "there are no prompts; give one at least"
