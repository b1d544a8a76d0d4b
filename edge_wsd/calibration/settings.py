"""What is tried on the scores of a draft: single settings of a rule, and a grid of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edge_wsd.decoding.options import Options


@dataclass(frozen=True, slots=True, order=True)
class WindowSetting:
    """The rule `window` with these values. Their ranges are those of `Options`."""

    threshold: float = Options.threshold
    window: int = Options.window
    ignore_repeated: bool = Options.ignore_repeated

    @classmethod
    def of(cls, options: Options) -> WindowSetting:
        return cls(options.threshold, options.window, options.ignore_repeated)


@dataclass(frozen=True, slots=True)
class SettingGrid:
    """Every threshold with every window, with and without repeated tokens. Raises `OptionError` out of range."""

    thresholds: tuple[float, ...] = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
    windows: tuple[int, ...] = (3, 4, 6, 8, 12)
    nudges: tuple[float, ...] = (0.2, 0.3, 0.4, 0.5, 0.6)
    """For the rule `nudge`: values of `Options.nudge_below`."""

    def __post_init__(self) -> None:
        for threshold in self.thresholds:
            Options(threshold=threshold)
        for window in self.windows:
            Options(window=window)
        for nudge_below in self.nudges:
            Options(nudge_below=nudge_below)
        for name in ("thresholds", "windows", "nudges"):
            object.__setattr__(self, name, tuple(sorted(set(getattr(self, name)))))

    def including(self, options: Options) -> SettingGrid:
        """The same with the values of these options, so that they can be compared."""
        return SettingGrid(
            (*self.thresholds, options.threshold), (*self.windows, options.window), (*self.nudges, options.nudge_below)
        )

    def settings(self, *, ignore_repeated: bool) -> Iterator[WindowSetting]:
        """Those of the rule `window`, by threshold and then by window."""
        for threshold in self.thresholds:
            for window in self.windows:
                yield WindowSetting(threshold, window, ignore_repeated)
