"""A reply while it is being written: what each model has read, what is kept, and whose turn it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edge_wsd.decoding.acceptance import accepted_choices
from edge_wsd.decoding.drafter import Drafter
from edge_wsd.decoding.events import Event, Scored, Source, Switched, SwitchReason
from edge_wsd.decoding.meter import Meter
from edge_wsd.decoding.options import Options
from edge_wsd.decoding.pace import Pace
from edge_wsd.decoding.sequence import Pass, Rows, Sampler, Sequence, Writing
from edge_wsd.decoding.signal import ConfidenceWindow
from edge_wsd.decoding.writer import ReplyWriter


@dataclass(frozen=True, slots=True)
class Finisher:
    """The model that finishes the reply, behind its own prompt."""

    sequence: Sequence
    prompt: list[int]
    opening: list[int]
    """Beginning of the reply that was given; scored like a draft, and part of the confidence window."""
    source: Source = "base"
    sampler: Sampler = None


class ReplyState:
    """One per reply. What is said of the base holds for the drafter where that writes a reply by itself."""

    def __init__(
        self,
        base: Finisher,
        options: Options,
        writer: ReplyWriter,
        meter: Meter,
        rule: ConfidenceWindow,
        drafter: Drafter | None = None,
    ) -> None:
        """Without a `drafter` there is neither a draft nor a proposal."""
        self._base, self._drafter = base, drafter
        self._options, self._writer, self._meter, self._rule = options, writer, meter, rule
        self._drafting = drafter is not None
        self._text = list(base.prompt)  # what is certain: read by the base, or its own last choice
        self._n_opening = len(base.opening)
        self._n_scored = -self._n_opening  # draft tokens that the base has scored
        most = writer.room
        self._limit = most if options.switch_at is None else min(options.switch_at, most)
        in_window = options.window - self._n_opening
        # No window can pass before it is full, so these tokens are kept whatever the base will say.
        self._certain = max(0, self._limit if options.switch_at is not None else min(in_window, self._limit))
        self._goal = min(max(options.chunk, in_window), self._limit)
        self._pace = Pace(options.chunk) if drafter is not None and options.speculation else None
        self._asked, self._proposed_s = 0, 0.0
        if not self._drafting:
            self._text += base.opening

    @property
    def done(self) -> bool:
        return self._writer.finish is not None

    @property
    def drafting(self) -> bool:
        """Whether the drafter writes, and the base only reads."""
        return self._drafting and not self.done

    # The first rule

    def draft(self) -> Writing[list[int]]:
        """The drafter writes, and what is certain is shown at once. Returns what the base is to score next."""
        assert self._drafter is not None
        draft = self._drafter.draft
        while len(draft.tokens) < self._goal and not self._drafter.ended:
            changed = yield from self._drafter.step()
            self._take_back(changed)
            yield from self._write_draft(self._certain)
            if self.done:
                return []
        # No more than the goal, even if a word became many tokens: that was made to fit into a pass.
        opening = self._base.opening if self._n_scored < 0 else []
        return opening + draft.tokens[max(self._n_scored, 0) : self._goal]

    def scoring_pass(self, proposed: list[int]) -> Pass:
        """What the base thinks of the proposed tokens."""
        return Pass(self._base.sequence, self._text, proposed, self._base.sampler, beyond=not proposed)

    def judge(self, rows: Rows, proposed: list[int]) -> Iterator[Event]:
        """Keep what was drafted, up to the token at which the base is confident; it goes on from there at once."""
        assert self._drafter is not None
        self._meter.base_passes += 1
        self._rule.extend(rows.logprobs, proposed)
        first = self._n_scored
        self._n_scored += len(proposed)
        self._text += proposed
        kept, reason = self._kept()
        if (reason is not None or self._n_scored >= self._limit) and self._take_back(self._drafter.draft.settle()):
            return
        self._meter.n_drafted, self._meter.n_accepted = self._n_scored, kept
        yield self._scored(max(first, 0), kept)
        yield from self._write_draft(kept)
        if self.done:
            return
        if reason == "draft_ended" and self._drafter.stop is not None:
            yield from self._writer.stop_at(self._drafter.stop)
        elif reason is None:
            self._goal = min(self._n_scored + self._options.chunk, self._limit)
        else:
            self._drafting = False
            del self._text[len(self._text) - (self._n_scored - kept) :]
            self._meter.switched()
            at = self._n_opening + kept - 1
            yield Switched(kept - 1, reason, self._rule.confidences[at] if at >= 0 else None)
            yield from self._keep_choices(rows, proposed, kept - first, len(proposed) or 1)
            self._meter.n_until_switch = len(self._writer.ids)

    def _take_back(self, changed: int) -> bool:
        """The draft was cut into other tokens from `changed` on. Whether the base has to read some of them again."""
        n_read = max(self._n_scored, 0)
        if changed < len(self._writer.ids):
            self._writer.cut(changed)
        if changed >= n_read:
            return False
        n = len(self._base.prompt) + self._n_opening + changed
        del self._text[n:]
        self._base.sequence.cut(n - 1)
        self._rule.cut(self._n_opening + changed)
        self._n_scored = changed
        return True

    def _kept(self) -> tuple[int, SwitchReason | None]:
        """How many draft tokens are kept so far, and why the base takes over now; None if it does not."""
        assert self._drafter is not None
        if self._options.switch_at is not None:
            if self._n_scored >= self._options.switch_at:
                return self._options.switch_at, "forced"
        elif self._rule.index is not None:
            return max(self._rule.index + 1 - self._n_opening, 0), "confident"  # a given opening is never cut
        is_whole = self._n_scored >= len(self._drafter.draft.tokens)
        return self._n_scored, self._drafter.ended if is_whole else None

    def _scored(self, first: int, kept: int) -> Scored:
        rule, span = self._rule, slice(self._n_opening + first, self._n_opening + kept)
        return Scored(first, tuple(rule.logprobs[span]), tuple(rule.confidences[span]), tuple(rule.repeated[span]))

    # The second rule

    def propose(self) -> Writing[list[int]]:
        """What the drafter thinks that comes next; as much of it as pays."""
        self._asked, self._proposed_s = 0, 0.0
        if self._drafter is None or self._pace is None or not (n := self._pace.next()):
            return []
        self._asked = min(n + self._base.sequence.spare(n + 1), self._writer.room - 1)
        if not self._asked:
            return []
        before_s = self._drafter.seconds
        proposed = yield from self._drafter.propose(self._writer.ids, self._asked)
        self._proposed_s = self._drafter.seconds - before_s
        self._meter.n_drafted += len(proposed[: self._asked])
        return proposed[: self._asked]

    def choosing_pass(self, proposed: list[int]) -> Pass:
        """The base's own choices."""
        return Pass(self._base.sequence, self._text, proposed, self._base.sampler)

    def accept(self, rows: Rows, proposed: list[int]) -> Iterator[Event]:
        """Keep the base's own choices: the proposed tokens that equal them, and the one that follows."""
        self._meter.base_passes += self._base.source == "base"
        n_before, is_first = len(self._text), self._drafter is None and not self._writer.ids
        if is_first and self._base.source == "base":
            self._meter.switched()
        yield from self._keep_choices(rows, proposed, 0, len(proposed) + 1)
        if is_first:
            self._meter.n_until_switch = len(self._writer.ids)
        if self._pace is not None and not self.done:
            n_accepted = len(self._text) - n_before - 1
            self._pace.record(
                self._asked,
                n_proposed=len(proposed),
                n_accepted=n_accepted,
                propose_s=self._proposed_s,
                pass_s=rows.seconds,
            )

    def _keep_choices(self, rows: Rows, proposed: list[int], first: int, n_rows: int) -> Iterator[Event]:
        for row, (token, logprob) in enumerate(
            accepted_choices(proposed, rows.choose, first=first, n_rows=n_rows), start=first
        ):
            self._meter.n_accepted += row < len(proposed) and proposed[row] == token
            self._text.append(token)
            yield from self._writer.write(token, self._base.source, logprob)
            if self.done:
                return
        self._base.sequence.cut(len(self._text) - 1)  # what follows was read behind proposals that did not stand

    def _write_draft(self, n: int) -> Iterator[Event]:
        """The first `n` tokens of the draft, as far as they are not written yet."""
        assert self._drafter is not None
        for token in self._drafter.draft.tokens[len(self._writer.ids) : n]:
            yield from self._writer.write(token, "drafter")
            if self.done:
                return
