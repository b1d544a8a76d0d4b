"""A reply while it is being written: what is certain of it, what the base has read, and whose turn it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from edge_wsd.decoding.alternatives import alternatives
from edge_wsd.decoding.drafter import Drafter
from edge_wsd.decoding.events import Alternative, Event, Source, Switched
from edge_wsd.decoding.experience import Experience
from edge_wsd.decoding.meter import Meter
from edge_wsd.decoding.ngram import SURE_ENOUGH, SURER_THAN_A_DRAFTER, NgramLookup
from edge_wsd.decoding.options import Options
from edge_wsd.decoding.pace import MOST, Pace, Round
from edge_wsd.decoding.proposal import Proposal, ProposerName
from edge_wsd.decoding.protocols import CachedSequence, Pass, Rows, TokenSampler, Writing
from edge_wsd.decoding.writer import ReplyWriter


@dataclass(frozen=True, slots=True)
class PromptedModel:
    """A model with its own prompt, which finishes the reply."""

    sequence: CachedSequence
    prompt: list[int]
    opening: list[int]
    """The given beginning of the reply."""
    source: Source = "base"
    sampler: TokenSampler | None = None
    most_proposed: int = 128
    """Tokens that it may be given at once. A pass must hold them all, or the row that a token was drawn from could be
    gone."""


class ReplyState:
    """A reply that one model writes, with or without proposals from a drafter. A switch rule is a subclass.

    "The base" here is the drafter if that writes the reply by itself.
    """

    def __init__(
        self,
        base: PromptedModel,
        options: Options,
        writer: ReplyWriter,
        meter: Meter,
        drafter: Drafter | None = None,
        experience: Experience | None = None,
    ) -> None:
        """`experience` is the pair's; without it the reply begins with none."""
        self.base, self.options, self.writer, self.meter = base, options, writer, meter
        self.experience = experience or Experience()
        self.text = base.prompt + base.opening
        """The certain part. The base has read all of it except the last token, or will with the next pass."""
        self.turn: Source = base.source
        self.switch: Switched | None = None
        """How the base last took over."""
        self._proposes = drafter
        self._proposers = _proposers(base, options, writer, drafter)
        self._paces = {name: self._pace(name) for name in self._proposers}
        self._asked, self._proposal = Round(0), Proposal()
        self._proposal_s = 0.0
        """What its passes took."""
        self._proposed_by: ProposerName | None = None
        """Whose proposal the base reads; None until it has taken over."""

    @property
    def done(self) -> bool:
        return self.writer.finish is not None

    @property
    def drafting(self) -> bool:
        """Whether the drafter is writing while the base only reads."""
        return not self.done and self.turn != self.base.source

    # The drafter's turn: the switch rule decides how it ends

    def draft(self) -> Writing[list[int]]:
        """The drafter writes; returns what the base is to score next."""
        yield from ()
        raise NotImplementedError

    def scoring_pass(self, proposed: list[int]) -> Pass:
        """A pass in which the base scores the proposed tokens; without any, what it would write itself."""
        n_top = self.options.top_logprobs
        return Pass(self.base.sequence, self.text, proposed, self.base.sampler, beyond=not proposed, likeliest=n_top)

    def judge(self, rows: Rows, proposed: list[int]) -> Iterator[Event]:
        """Keep the part of the draft that the rule allows."""
        raise NotImplementedError

    # The base's turn

    def propose(self) -> Writing[list[int]]:
        """A guess at what comes next, as long as pays: what was found in the text, or else what the drafter writes."""
        self._proposed_by = None
        rounds = {name: pace.next() for name, pace in self._paces.items()}
        for name, proposer in self._proposers.items():
            asked = rounds[name]
            n = min(asked.n + self.base.sequence.spare(asked.n + 1), self.writer.n_left - 1) if asked.n else 0
            if not n:
                continue
            asked = Round(n, max(asked.stop_below, _bound(name, rounds)))
            before_s = proposer.seconds
            proposal = (yield from proposer.propose(self.writer.ids, n, asked.stop_below)).first(n)
            self._proposal_s = proposer.seconds - before_s
            if proposal.tokens or name == "drafter":  # to find nothing costs nothing, to draft nothing does
                self._asked, self._proposal, self._proposed_by = asked, proposal, name
                self.meter.proposed(proposal)
                return proposal.tokens
        return []

    def choosing_pass(self, proposed: list[int]) -> Pass:
        """A pass for the base's own choices."""
        drafter = self._proposes if self._proposed_by == "drafter" else None
        ahead = None if drafter is None else drafter.ahead(self._asked.n + 1)
        n_top = self.options.top_logprobs
        return Pass(self.base.sequence, self.text, proposed, self.base.sampler, meanwhile=ahead, likeliest=n_top)

    def accept(self, rows: Rows, proposed: list[int]) -> Iterator[Event]:
        """Keep the base's own choices: the proposed tokens that match them, and the choice that follows."""
        self.meter.base_passes += self.base.source == "base"
        n_before, is_first = len(self.text), not self.writer.ids
        if is_first and self.base.source == "base":
            self.meter.switched()
        yield from self.keep_choices(rows, proposed, 0, len(proposed) + 1)
        if is_first:
            self.meter.n_until_switch = len(self.writer.ids)
        elif not self.drafting and not self.done:  # the first pass read the prompt, and is no measure of a round
            self._record(len(self.text) - n_before, rows.seconds)

    def _record(self, n_written: int, seconds: float) -> None:
        """Tell every pace what came of the round; it was one without proposals for all but the proposer."""
        for name, pace in self._paces.items():
            if name == self._proposed_by:
                pace.record(self._asked, self._proposal, n_written - 1, self._proposal_s + seconds)
            else:
                pace.skip(n_written)

    def _pace(self, proposer: ProposerName) -> Pace:
        pinned = self.options.propose
        return Pace(
            min(MOST if pinned is None else pinned, self.base.most_proposed),
            self.experience.costs,
            self.experience.proposals[proposer],
            pinned=pinned,
            finisher=self.base.source,
            is_free=proposer == "ngram",
        )

    def top(self, rows: Rows, row: int) -> tuple[Alternative, ...]:
        """The likeliest tokens of a row; none where the options do not ask for them."""
        return alternatives(self.writer.vocabulary, rows.likeliest(row)) if self.options.top_logprobs else ()

    def tell_sampler(self, tokens: Iterable[int], *, drafted: bool = False) -> None:
        """Report the tokens that became part of the reply, in order."""
        if self.base.sampler is not None:
            for token in tokens:
                self.base.sampler.accept(token, drafted=drafted)

    def hesitates(self, top: float) -> bool:
        """Whether the base leaves the next token to the drafter; its own best one has log-probability `top`."""
        return False

    def keep_choices(self, rows: Rows, proposed: list[int], first: int, n_rows: int) -> Iterator[Event]:
        """Write the base's own choices from row `first` on, until one differs from its proposal or the base hesitates.

        A row is valid as long as all proposals before it were chosen. Nothing is drawn from other rows, so the text
        does not depend on how many tokens were proposed.
        """
        for row in range(first, n_rows):
            if self.hesitates(rows.top(row)):
                self.turn = "drafter"
                self.meter.handed_over()
                break
            token, logprob = rows.choose(row)
            stands = row < len(proposed) and token == proposed[row]
            if stands:
                self.meter.accepted(self._proposed_by)
            self.text.append(token)
            self.tell_sampler([token])
            yield from self.writer.write(token, self.base.source, logprob, self.top(rows, row))
            if self.done:
                return
            if not stands:
                break
        self.base.sequence.cut(len(self.text) - 1)  # what follows was read after proposals that were rejected


def _proposers(
    base: PromptedModel, options: Options, writer: ReplyWriter, drafter: Drafter | None
) -> dict[ProposerName, Drafter | NgramLookup]:
    """Those that are asked, in this order."""
    found: dict[ProposerName, Drafter | NgramLookup] = {}
    if options.speculation and options.proposers != "drafter":
        found["ngram"] = NgramLookup(base.prompt + base.opening, writer.vocabulary)
    if options.speculation and options.proposers != "ngram" and drafter is not None:
        found["drafter"] = drafter
    return found


def _bound(proposer: ProposerName, rounds: Mapping[ProposerName, Round]) -> float:
    """The probability from which on a token is proposed, whatever the pace says. The drafter's is the pace's alone."""
    if proposer == "drafter":
        return 0.0
    return SURER_THAN_A_DRAFTER if "drafter" in rounds and rounds["drafter"].n else SURE_ENOUGH
