"""A whole draft with the base's scores, as far as the drafter would have written.

>>> draft = ScoredDraft.of(pair.generate("How do I list files?", scoring_options(pair.options)))
>>> draft.switch(WindowSetting(threshold=0.8, window=6)).index
6
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edge_wsd.calibration.settings import WindowSetting
from edge_wsd.decoding.events import Reply, Switched, SwitchReason
from edge_wsd.decoding.options import Options
from edge_wsd.decoding.signal import ConfidenceWindow, is_confident


def scoring_options(options: Options) -> Options:
    """Options with which the draft is the one that `options` give, but whole, and scored to its end.

    A window of one token, since a reply that ends before its first window is full has no scores.
    """
    return options.with_changes(
        mode="wsd", rule="never", window=1, ignore_repeated=True, switch_at=None, top_logprobs=1
    )


@dataclass(frozen=True, slots=True)
class ScoredDraft:
    """The drafted tokens, in the base's vocabulary. The sequences have one entry per token."""

    texts: tuple[str, ...]
    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    """Natural log-probabilities under the base, at temperature 1."""
    pieces: tuple[bytes, ...]
    """The bytes of each token."""
    choices: tuple[tuple[int, float], ...]
    """The base's own choice at each position, and the log-probability of that."""
    repeated: tuple[bool, ...]
    """Whether the token only repeats the question or the draft (`Options.ignore_repeated`)."""
    ended: SwitchReason | None
    """Why the base takes over behind the last token where it was never confident; None if the reply ends there too:
    at a stop string, at its maximum length or in a loop."""

    @classmethod
    def of(cls, reply: Reply) -> ScoredDraft:
        """The draft of a reply that was written with `scoring_options`."""
        tokens = [token for token in reply.tokens if token.source == "drafter" and token.logprob is not None]
        return cls(
            texts=tuple(token.text for token in tokens),
            ids=tuple(token.id for token in tokens),
            logprobs=tuple(token.logprob for token in tokens if token.logprob is not None),
            pieces=tuple(token.piece for token in tokens),
            choices=tuple((token.top[0].id, token.top[0].logprob) for token in tokens),
            repeated=tuple(bool(token.repeated) for token in tokens),
            ended=None if reply.switch is None else reply.switch.reason,
        )

    def __len__(self) -> int:
        return len(self.ids)

    def confidences(self, *, window: int, ignore_repeated: bool = False) -> list[float | None]:
        """The confidence at every token: geometric mean over the window that ends there; None until it is full."""
        return list(self.curve(window=window, ignore_repeated=ignore_repeated).confidences)

    def switch(self, setting: WindowSetting) -> Switched | None:
        """How the base would have taken over; None if the reply had ended before that, or with its last token."""
        return self.curve(window=setting.window, ignore_repeated=setting.ignore_repeated).switch(setting.threshold)

    def curve(self, *, window: int, ignore_repeated: bool = False) -> ConfidenceCurve:
        """The confidence over one window, for any threshold."""
        counted = [i for i in range(len(self)) if not (ignore_repeated and self.repeated[i])]
        rule = ConfidenceWindow(threshold=0.0, window=window)
        rule.extend([self.logprobs[i] for i in counted])
        return ConfidenceCurve(_held(rule.confidences, counted, len(self)), self.ended)


@dataclass(frozen=True, slots=True)
class ConfidenceCurve:
    """The confidence at every token of a draft, over one window."""

    confidences: Sequence[float | None]
    """None until the window is full; at a token that does not count, that of the one before."""
    ended: SwitchReason | None
    """As in `ScoredDraft`."""

    def switch(self, threshold: float) -> Switched | None:
        """As `ScoredDraft.switch`."""
        index, last = self._first(threshold), len(self.confidences) - 1
        if self.ended is None and index in (None, last):
            return None
        if index is not None:
            return Switched(index, "confident", self.confidences[index])
        assert self.ended is not None
        return Switched(last, self.ended, self.confidences[last] if self.confidences else None)

    def is_at_once(self, threshold: float) -> bool:
        """Whether the base takes over with the first window that is full."""
        index = self._first(threshold)
        return index is not None and all(confidence is None for confidence in self.confidences[:index])

    def _first(self, threshold: float) -> int | None:
        return next((i for i, value in enumerate(self.confidences) if is_confident(value, threshold)), None)


def _held(values: Sequence[float | None], at: Sequence[int], n: int) -> list[float | None]:
    """`n` entries: each value from its place on, until the next."""
    found: list[float | None] = []
    last: float | None = None
    places = dict(zip(at, values, strict=True))
    for i in range(n):
        last = places.get(i, last)
        found.append(last)
    return found
