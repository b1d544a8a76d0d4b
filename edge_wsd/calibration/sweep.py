"""What each setting would have done with many drafts: how often the base takes over, where, and how much it keeps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, median
from typing import Any

from edge_wsd.calibration.draft import ConfidenceCurve, ScoredDraft
from edge_wsd.calibration.settings import SettingGrid, WindowSetting


@dataclass(frozen=True, slots=True)
class SettingRow:
    """One setting over all drafts. Shares are 0 to 1."""

    setting: WindowSetting
    n: int
    """Drafts."""
    n_confident: int
    """In how many of them the base takes over because it is confident."""
    n_at_once: int
    """In how many of them it does so with the first window that is full."""
    switch_tokens: float | None
    """Drafted tokens up to the switch, where the base is confident: the median. None if it never is."""
    drafted_share: float
    """Share of the draft that is kept, over all drafts: the median; 1 where the base never takes over."""
    mean_drafted_share: float

    @property
    def confident_share(self) -> float:
        return self.n_confident / self.n

    @property
    def at_once_share(self) -> float:
        return self.n_at_once / self.n

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        setting = {"rule": "window", **asdict(self.setting)}
        figures = {name: value for name, value in asdict(self).items() if name != "setting"}
        return {
            **setting, **figures, "confident_share": self.confident_share, "at_once_share": self.at_once_share
        }  # fmt: skip


def row_of(setting: WindowSetting, curves: Sequence[ConfidenceCurve]) -> SettingRow:
    """The figures of one setting, over the curves of its window. An empty draft tells nothing, and has none here."""
    switches = [curve.switch(setting.threshold) for curve in curves]
    confident = [switch.index + 1 for switch in switches if switch is not None and switch.reason == "confident"]
    kept = [
        1.0 if switch is None else (switch.index + 1) / len(curve.confidences)
        for switch, curve in zip(switches, curves, strict=True)
    ]
    return SettingRow(
        setting=setting,
        n=len(curves),
        n_confident=len(confident),
        n_at_once=sum(curve.is_at_once(setting.threshold) for curve in curves),
        switch_tokens=median(confident) if confident else None,
        drafted_share=median(kept),
        mean_drafted_share=fmean(kept),
    )


def sweep(drafts: Sequence[ScoredDraft], grid: SettingGrid) -> list[SettingRow]:
    """A row for each setting of the rule `window`: those that count every token, then those that do not."""
    return [row for ignore_repeated in (False, True) for row in _swept(drafts, grid, ignore_repeated=ignore_repeated)]


def _swept(drafts: Sequence[ScoredDraft], grid: SettingGrid, *, ignore_repeated: bool) -> Iterator[SettingRow]:
    rows = {}
    for window in grid.windows:  # a curve serves all thresholds
        curves = [draft.curve(window=window, ignore_repeated=ignore_repeated) for draft in drafts]
        for threshold in grid.thresholds:
            setting = WindowSetting(threshold, window, ignore_repeated)
            rows[setting] = row_of(setting, curves)
    yield from (rows[setting] for setting in grid.settings(ignore_repeated=ignore_repeated))
