"""The signal of one answer: what the base thinks of every drafted token, also behind the switch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from edge_wsd.calibration.draft import ScoredDraft
from edge_wsd.calibration.nudged import NudgedDraft, nudged
from edge_wsd.calibration.settings import SettingGrid, WindowSetting
from edge_wsd.decoding.events import Switched


@dataclass(frozen=True, slots=True)
class DraftSignal:
    """A whole draft, the setting that the answer was written with, and how the base took over in the answer."""

    draft: ScoredDraft
    setting: WindowSetting
    switch: Switched | None
    knows_nudges: bool = True
    """Whether something can be known of the rule `nudge`: nothing is drawn, and the vocabularies are the same."""

    @property
    def probabilities(self) -> list[float]:
        """The base's, of each drafted token."""
        return [math.exp(logprob) for logprob in self.draft.logprobs]

    @property
    def confidences(self) -> list[float | None]:
        """Over the window that ends at each token; None until it is full."""
        return self.draft.confidences(window=self.setting.window, ignore_repeated=self.setting.ignore_repeated)

    def others(self, grid: SettingGrid) -> Iterator[tuple[WindowSetting, Switched | None]]:
        """The switch that each setting would have given."""
        for ignore_repeated in (False, True):
            for setting in grid.settings(ignore_repeated=ignore_repeated):
                yield setting, self.draft.switch(setting)

    def nudges(self, grid: SettingGrid) -> Iterator[tuple[float, NudgedDraft]]:
        """What the rule `nudge` would have made of the draft."""
        if self.knows_nudges:
            yield from ((nudge_below, nudged(self.draft, nudge_below)) for nudge_below in grid.nudges)

    def as_dict(self, grid: SettingGrid) -> dict[str, Any]:
        """Plain values for JSON."""
        draft = self.draft
        columns = zip(
            draft.ids, draft.texts, draft.logprobs, self.probabilities, self.confidences, draft.repeated, strict=True
        )
        return {
            "setting": {"rule": "window", **asdict(self.setting)},
            "switch": _plain(self.switch),
            "draft_ended": draft.ended,
            "draft": [
                {
                    "id": token,
                    "text": text,
                    "logprob": logprob if math.isfinite(logprob) else None,
                    "probability": probability,
                    "confidence": confidence,
                    "repeated": repeated,
                }
                for token, text, logprob, probability, confidence, repeated in columns
            ],
            "others": [
                {"rule": "window", **asdict(setting), "switch": _plain(switch)} for setting, switch in self.others(grid)
            ],
            "nudges": [one.as_dict(nudge_below) for nudge_below, one in self.nudges(grid)],
        }


def _plain(switch: Switched | None) -> dict[str, Any] | None:
    return None if switch is None else asdict(switch)
