"""Whether two models make a good pair, and which setting of the published rule suits them.

The base should take over in nearly every answer, and while most of it is still to be written; within that, as late as
possible, since what the drafter writes is what makes the answer aligned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from edge_wsd.calibration.settings import WindowSetting
from edge_wsd.calibration.sweep import SettingRow

OFTEN = 0.9
"""Share of the drafts in which the base should take over because it is confident."""
MOST_DRAFTED = 0.5
"""Share of the draft, at the median, that should at most be kept."""
SELDOM = 0.5
"""A pair whose base takes over in fewer drafts than this share, however easy it is made, is a poor one."""
FEW = 20
"""With fewer drafts than this the shares are rough."""
RULE = (
    f"the highest threshold, and with it the longest window, at which the base takes over confidently in at least "
    f"{100 * OFTEN:.0f} % of the drafts and keeps at most {100 * MOST_DRAFTED:.0f} % of the draft at the median"
)
"""How the recommended setting is chosen, in words."""

PairQuality = Literal["good", "undecided", "seldom", "at_once"]


@dataclass(frozen=True, slots=True)
class PairVerdict:
    """`seldom` and `at_once` are poor pairs; in an undecided one no setting is recommended either."""

    quality: PairQuality
    reason: str
    """One sentence with the figures."""
    recommended: WindowSetting | None
    """By `RULE`."""

    @property
    def is_poor(self) -> bool:
        return self.quality in ("seldom", "at_once")

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "poor": self.is_poor, "rule": RULE}


def judge_pair(rows: Sequence[SettingRow]) -> PairVerdict:
    """The verdict on the rows of a sweep, of which those count in which every token counts, as published."""
    rows = sorted((row for row in rows if not row.setting.ignore_repeated), key=lambda row: row.setting)
    easiest = max(rows, key=lambda row: row.confident_share)
    if easiest.confident_share < SELDOM:
        return PairVerdict(
            "seldom",
            f"the base takes over confidently in at most {_shown(easiest.confident_share)} of the drafts "
            f"({_named(easiest.setting)}): it does not expect what this drafter writes",
            None,
        )
    slowest = min(reversed(rows), key=lambda row: row.at_once_share)
    if slowest.at_once_share >= OFTEN:
        return PairVerdict(
            "at_once",
            f"even with {_named(slowest.setting)} the base takes over as soon as the window is full in "
            f"{_shown(slowest.at_once_share)} of the drafts: its confidence says nothing about the draft, so it may be "
            "aligned itself",
            None,
        )
    suited = [row for row in rows if row.confident_share >= OFTEN and row.drafted_share <= MOST_DRAFTED]
    if not suited:
        nearest = max(rows, key=lambda row: (min(row.confident_share, OFTEN), -row.drafted_share))
        return PairVerdict(
            "undecided",
            f"no setting meets the rule; the nearest, {_named(nearest.setting)}, takes over in "
            f"{_shown(nearest.confident_share)} of the drafts and keeps {_shown(nearest.drafted_share)} of the draft",
            None,
        )
    best = suited[-1]
    return PairVerdict(
        "good",
        f"with {_named(best.setting)} the base takes over in {_shown(best.confident_share)} of the drafts and keeps "
        f"{_shown(best.drafted_share)} of the draft at the median",
        best.setting,
    )


def _named(setting: WindowSetting) -> str:
    return f"threshold {setting.threshold:g}, window {setting.window}"


def _shown(share: float) -> str:
    return f"{100 * share:.0f} %"
