"""The published switch rule: the drafter begins, and the base takes over for good once it is confident.

Source: Song et al., "Well Begun is Half Done", arXiv 2506.07434.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from edge_wsd.decoding.ahead import how_far
from edge_wsd.decoding.drafter import Drafter
from edge_wsd.decoding.events import Alternative, Event, Scored, Switched, SwitchReason
from edge_wsd.decoding.experience import Experience
from edge_wsd.decoding.meter import Meter
from edge_wsd.decoding.options import Options
from edge_wsd.decoding.pace import MOST
from edge_wsd.decoding.protocols import Meanwhile, Pass, Rows, Writing
from edge_wsd.decoding.reply_state import PromptedModel, ReplyState
from edge_wsd.decoding.signal import ConfidenceWindow
from edge_wsd.decoding.writer import ReplyWriter

_FIRST_CHUNK = 8
"""Tokens drafted before the base scores them, as long as nothing is known of costs."""


class WindowReply(ReplyState):
    """Drafts in chunks. A given opening is scored like a draft and is part of the confidence window.

    With the rule `never` no confidence is enough, and the reply ends with the draft.
    """

    def __init__(
        self,
        base: PromptedModel,
        options: Options,
        writer: ReplyWriter,
        meter: Meter,
        drafter: Drafter,
        window: ConfidenceWindow,
        experience: Experience | None = None,
    ) -> None:
        super().__init__(base, options, writer, meter, drafter, experience)
        self._drafter, self._window = drafter, window
        self._only_scores = options.rule == "never"
        self.turn = "drafter"
        meter.handed_over()
        self.text = list(base.prompt)  # the base has yet to score the opening
        self._n_opening = len(base.opening)
        self._tops: list[tuple[Alternative, ...]] = []  # of what the base has scored
        self._n_scored = -self._n_opening  # draft tokens that the base has scored
        most, in_window = writer.n_left, options.window - self._n_opening
        self._limit = most if options.switch_at is None else min(options.switch_at, most)
        # No window can pass before it is full, so these tokens are kept whatever the base says.
        self._certain = max(0, self._limit if options.switch_at is not None else min(in_window, self._limit))
        self._goal = min(max(self._n_ahead(), in_window), self._limit)
        if drafter.overlaps:
            drafter.beside = Meanwhile(Pass(base.sequence, base.prompt, [], beyond=False))

    def draft(self) -> Writing[list[int]]:
        """The next chunk. Certain tokens are shown at once, before the base has read anything."""
        draft = self._drafter.draft
        while len(draft.tokens) < self._goal and not self._drafter.ended:
            n_written = len(draft.tokens)
            changed = yield from self._drafter.step(1 if n_written < self._certain else self._goal - n_written)
            self._take_back(changed)
            yield from self._write_draft(self._certain)
            if self.done:
                yield from self._score_rest()
                return []
        # No more than the goal, even if a word became many tokens: the goal fits into a pass.
        opening = self.base.opening if self._n_scored < 0 else []
        return opening + draft.tokens[max(self._n_scored, 0) : self._goal]

    def scoring_pass(self, proposed: list[int]) -> Pass:
        """As for any reply; the drafter writes on meanwhile, betting that the base does not take over."""
        self._drafter.beside = None
        asked = super().scoring_pass(proposed)
        if not self._drafter.overlaps:
            return asked
        return replace(asked, meanwhile=self._drafter.ahead(self._n_ahead(), of_draft=True))

    def judge(self, rows: Rows, proposed: list[int]) -> Iterator[Event]:
        """Keep the draft up to the token at which the base is confident; the base continues from there at once."""
        first, certain = self._n_scored, self._n_certain()
        self._count(rows, proposed)
        kept, reason = self._kept()
        if (reason is not None or self._n_scored >= self._limit) and self._take_back(self._drafter.draft.settle()):
            return
        if self.options.switch_at is None and not self._only_scores:
            self.experience.switches.count(max(0, kept - first - certain + 1), switched=reason == "confident")
        self.meter.n_drafted, self.meter.n_accepted = self._n_scored, kept
        scored = self._scored(max(first, 0), kept)
        yield scored
        yield from self._write_draft(kept)
        self.writer.score(scored)
        if self.done:
            return
        if reason == "draft_ended" and self._drafter.stop is not None:
            yield from self.writer.stop_at(self._drafter.stop)
        elif reason is None:
            self._goal = min(self._n_scored + self._n_ahead(), self._limit)
        else:
            yield self._take_over(kept, reason)
            if self._only_scores:
                yield from self.writer.end("stop" if reason == "draft_ended" else "length")
                return
            yield from self.keep_choices(rows, proposed, kept - first, len(proposed) or 1)
            self.meter.n_until_switch = len(self.writer.ids)

    def _count(self, rows: Rows, proposed: list[int]) -> None:
        """The base has scored these tokens of the opening and the draft."""
        self.meter.base_passes += 1
        self._window.extend(rows.logprobs, proposed)
        if self.options.top_logprobs:
            self._tops += [self.top(rows, row) for row in range(len(proposed))]
        self._n_scored += len(proposed)
        self.text += proposed

    def _score_rest(self) -> Writing[None]:
        """The reply is over before the base has read all of it: that does so where somebody asks what it thinks."""
        first = max(self._n_scored, 0)
        rest = self.writer.ids[first:]
        if self.options.top_logprobs and rest:
            proposed = self.base.opening + rest if self._n_scored < 0 else rest
            rows = yield super().scoring_pass(proposed)
            self._count(rows, proposed)
            scored = self._scored(first, self._n_scored)
            yield scored
            self.writer.score(scored)

    def _n_ahead(self) -> int:
        """How many tokens to draft before the base scores them."""
        most = min(MOST, self.base.most_proposed)
        if self.options.chunk is not None:
            return min(self.options.chunk, self.base.most_proposed)
        n = how_far(
            most,
            self.experience.costs,
            certain=self._n_certain(),
            chance=self.experience.switches.chance,
            acceptance=self.experience.proposals["drafter"].acceptance.mean,
        )
        return min(_FIRST_CHUNK, most) if n is None else n

    def _n_certain(self) -> int:
        """How many tokens behind those that are scored are kept whatever the base says of them."""
        if self.options.switch_at is not None or self._only_scores:
            return self._limit - max(self._n_scored, 0)
        return self._window.earliest()

    def _kept(self) -> tuple[int, SwitchReason | None]:
        """How many draft tokens are kept so far, and why the base takes over now (None if it does not)."""
        if self.options.switch_at is not None:
            if self._n_scored >= self.options.switch_at:
                return self.options.switch_at, "forced"
        elif self._window.index is not None and not self._only_scores:
            return max(self._window.index + 1 - self._n_opening, 0), "confident"  # a given opening is never cut
        is_whole = self._n_scored >= len(self._drafter.draft.tokens)
        return self._n_scored, self._drafter.ended if is_whole else None

    def _take_over(self, kept: int, reason: SwitchReason) -> Switched:
        self.turn = "base"
        self.meter.switched()
        self.tell_sampler(self.writer.ids, drafted=True)
        del self.text[len(self.text) - (self._n_scored - kept) :]
        at = self._n_opening + kept - 1
        self.switch = Switched(kept - 1, reason, self._window.confidences[at] if at >= 0 else None)
        return self.switch

    def _take_back(self, changed: int) -> bool:
        """The draft was split differently from `changed` on. Returns whether the base must read some of it again."""
        if changed < len(self.writer.ids):
            self.writer.cut(changed)
        if changed >= max(self._n_scored, 0):
            return False
        n = len(self.base.prompt) + self._n_opening + changed
        del self.text[n:]
        self.base.sequence.cut(n - 1)
        self._window.cut(self._n_opening + changed)
        del self._tops[self._n_opening + changed :]
        self._n_scored = changed
        return True

    def _scored(self, first: int, kept: int) -> Scored:
        span = slice(self._n_opening + first, self._n_opening + kept)
        window = self._window
        return Scored(
            first,
            tuple(window.logprobs[span]),
            tuple(window.confidences[span]),
            tuple(window.repeated[span]),
            tuple(self._tops[span]) if self.options.top_logprobs else (),
        )

    def _write_draft(self, n: int) -> Iterator[Event]:
        """Write those of the draft's first `n` tokens that are not written yet."""
        for token in self._drafter.draft.tokens[len(self.writer.ids) : n]:
            yield from self.writer.write(token, "drafter")
            if self.done:
                return
