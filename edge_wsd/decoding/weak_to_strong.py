"""The loop: the drafter proposes, the base scores the proposal in one batch, a rule decides what is kept.

The rule changes once. While drafting, every token is kept until the base is confident; from then on a token is kept if
it is the base's own choice, so the text is what the base alone would have written from there.

Source: Song et al., arXiv 2506.07434 (the switch); Leviathan et al., arXiv 2211.17192 (the exact continuation).
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from functools import partial

from edge_wsd.decoding.acceptance import accepted_choices
from edge_wsd.decoding.drafter import Drafter
from edge_wsd.decoding.events import Event, Scored, Source, Switched, SwitchReason
from edge_wsd.decoding.meter import Meter
from edge_wsd.decoding.options import Options
from edge_wsd.decoding.pace import Pace
from edge_wsd.decoding.sequence import Sampler, Scores, Sequence
from edge_wsd.decoding.signal import ConfidenceWindow
from edge_wsd.decoding.writer import ReplyWriter


@dataclass(slots=True)
class Reader:
    """The model that finishes the reply: its memory, and what it has not read yet of its prompt."""

    sequence: Sequence
    unread: list[int]
    """Tokens of the prompt to decode first; at least one."""
    opening: list[int]
    """Beginning of the reply that was given; scored like a draft, and part of the confidence window."""
    sampler: Sampler = None


@dataclass(slots=True)
class _Round:
    """A scored batch: `proposed[i]` was scored by row i of `scores`, and row `row` on is still to be used."""

    scores: Scores
    proposed: list[int]
    row: int


def weak_to_strong(
    drafter: Drafter,
    base: Reader,
    options: Options,
    writer: ReplyWriter,
    meter: Meter,
    confidences: ConfidenceWindow,
) -> Iterator[Event]:
    """A reply that the drafter begins and the base finishes. Ends when `writer.finish` is set."""
    last = yield from _draft(drafter, base, options, writer, meter, confidences)
    if last is not None:
        pace = Pace(options.chunk) if options.speculation else None
        yield from _continue(base, last, writer, meter, "base", drafter, pace)


def alone(model: Reader, source: Source, writer: ReplyWriter, meter: Meter) -> Iterator[Event]:
    """A reply of one model by itself."""
    scores = model.sequence.score(model.unread + model.opening, [])
    if source == "base":
        meter.base_passes += 1
        meter.switched()
    yield from _continue(model, _Round(scores, [], 0), writer, meter, source, None, None)


def _draft(
    drafter: Drafter,
    base: Reader,
    options: Options,
    writer: ReplyWriter,
    meter: Meter,
    rule: ConfidenceWindow,
) -> Generator[Event, None, _Round | None]:
    """The first rule. Returns the round in which the switch happened; None if the reply ended before."""
    draft, n_opening = drafter.draft, len(base.opening)
    n_prompt = len(base.sequence.tokens) + len(base.unread)
    max_tokens = writer.room
    limit = max_tokens if options.switch_at is None else min(options.switch_at, max_tokens)
    # No window can pass before it is full, so these tokens are kept whatever the base will say.
    certain = limit if options.switch_at is not None else min(options.window - n_opening, limit)
    unread, n_scored = base.unread, -n_opening

    def take_back(changed: int) -> int:
        """The draft was cut into other tokens from `changed` on: read them again. Returns how many are still scored."""
        if changed < max(n_scored, 0) or changed < len(writer.ids):
            base.sequence.cut(n_prompt + n_opening + changed)
            rule.cut(n_opening + changed)
            writer.cut(min(changed, len(writer.ids)))
        return min(n_scored, changed)

    goal = min(max(options.chunk, options.window - n_opening), limit)
    while True:
        while len(draft.tokens) < goal and not drafter.ended:
            changed = drafter.step()
            n_scored = take_back(changed)
            for token in draft.tokens[len(writer.ids) : max(certain, 0)]:
                yield from writer.write(token, "drafter")
                if writer.finish:
                    return None
        # No more than the goal, even if a word became many tokens: of a batch longer than memory lends no row is left.
        proposed = (base.opening if n_scored < 0 else []) + draft.tokens[max(n_scored, 0) : goal]
        scores = base.sequence.score(unread, proposed)
        meter.base_passes += 1
        rule.extend(scores.logprobs, proposed)
        first, unread = n_scored, []
        n_scored += len(proposed)
        kept, reason = _kept(rule, options, drafter, n_scored, n_opening)
        if (reason is not None or n_scored >= limit) and (changed := draft.settle()) < n_scored:
            n_scored = take_back(changed)
            continue
        meter.n_drafted, meter.n_accepted = n_scored, kept
        yield _scored(rule, n_opening, max(first, 0), kept)
        for token in draft.tokens[len(writer.ids) : kept]:
            yield from writer.write(token, "drafter")
            if writer.finish:
                return None
        if reason == "draft_ended" and drafter.stop is not None:
            yield from writer.stop_at(drafter.stop)
            return None
        if reason is not None:
            meter.switched()
            at = n_opening + kept - 1
            yield Switched(kept - 1, reason, rule.confidences[at] if at >= 0 else None)
            for token in draft.tokens[:kept] if base.sampler is not None else ():
                base.sampler.accept(token)
            return _Round(scores, proposed, kept - first)
        goal = min(n_scored + options.chunk, limit)


def _kept(
    rule: ConfidenceWindow, options: Options, drafter: Drafter, n_scored: int, n_opening: int
) -> tuple[int, SwitchReason | None]:
    """How many draft tokens are kept so far, and why the base takes over now; None if it does not."""
    if options.switch_at is not None:
        if n_scored >= options.switch_at:
            return options.switch_at, "forced"
    elif rule.index is not None:
        return max(rule.index + 1 - n_opening, 0), "confident"  # an opening that was given is never cut
    return n_scored, drafter.ended if n_scored >= len(drafter.draft.tokens) else None


def _scored(rule: ConfidenceWindow, n_opening: int, first: int, kept: int) -> Scored:
    span = slice(n_opening + first, n_opening + kept)
    return Scored(first, tuple(rule.logprobs[span]), tuple(rule.confidences[span]), tuple(rule.repeated[span]))


def _continue(
    model: Reader,
    last: _Round,
    writer: ReplyWriter,
    meter: Meter,
    source: Source,
    drafter: Drafter | None,
    pace: Pace | None,
) -> Iterator[Event]:
    """The second rule, until the reply is over. Without a drafter every round yields one token: plain decoding."""
    proposed, row, scores = last.proposed[last.row :], last.row, last.scores
    n_before = len(model.sequence.tokens) - len(proposed) - len(writer.ids)
    asked, propose_s, pass_s = 0, 0.0, 0.0
    while True:
        choose = partial(_choose, scores, row, model.sampler)
        n_new = 0
        for token, logprob in accepted_choices(proposed, choose):
            meter.n_accepted += n_new < len(proposed) and proposed[n_new] == token
            n_new += 1
            yield from writer.write(token, source, logprob)
            if writer.finish:
                return
            if model.sampler is not None:
                model.sampler.accept(token)
        meter.n_until_switch = meter.n_until_switch or len(writer.ids)
        if pace is not None and pass_s:
            pace.record(asked, n_proposed=len(proposed), n_accepted=n_new - 1, propose_s=propose_s, pass_s=pass_s)

        model.sequence.cut(n_before + len(writer.ids) - 1)  # the newest choice is not in memory yet
        start_s = time.perf_counter()
        asked = pace.next() if pace else 0
        asked = min(asked + model.sequence.spare(asked + 1), writer.room - 1) if asked else 0
        proposed = drafter.propose(writer.ids, asked)[:asked] if drafter and asked else []
        meter.n_drafted += len(proposed)
        proposed_s = time.perf_counter()
        scores, row = model.sequence.score(writer.ids[-1:], proposed), 0
        meter.base_passes += source == "base"
        propose_s, pass_s = proposed_s - start_s, time.perf_counter() - proposed_s


def _choose(scores: Scores, first: int, sampler: Sampler, row: int) -> tuple[int, float]:
    return scores.choose(first + row, sampler)
