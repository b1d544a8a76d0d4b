"""How many tokens to propose after the switch, from measured costs and acceptance.

A round of k proposals takes k drafter steps and one pass of the base over k + 1 tokens, and yields
1 + a + ... + a^k tokens if each is accepted with probability a. A round may also end where the proposer is unsure: then
fewer are made, and more of them accepted. What a pass over several tokens takes is measured. The round of the most
tokens per second is chosen; none, plain decoding, where no proposal pays.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from edge_wsd.decoding.acceptance import Acceptance, Lately
from edge_wsd.decoding.costs import Costs
from edge_wsd.decoding.events import Source
from edge_wsd.decoding.proposal import Proposal

MOST = 32
"""Proposals in a round."""
_FIRST = 3
"""Proposals in the first round of all, when nothing is known."""
_FIRST_TOGETHER = 2
"""Replies that share passes begin with at most twice as many, and double them round by round: all pay for a try."""
_WORTH = 1.01
"""Proposals must promise so many times the speed of plain decoding."""
_WORTH_TOGETHER = 1.15
"""Those of replies that share passes: what passes take moves by a tenth as their texts grow, and with proposals they
end at different times, so that the last ones share less."""
_ALLOWANCE = 0.015
"""The share of the time that proposals may cost where they do not seem to pay: to see whether they do by now.
Of replies that share passes each has its part of it, as one that tries keeps all waiting."""
_MOST_SAVED = 20
"""Of what proposals gained, in passes of the base divided by the replies in one: so much may be spent on trying."""
_MOST_LOST = 1.0
"""As much may be lost, in such passes, until it is clear that what is known of costs holds no longer."""
_LONGEST = 2.0
"""A round that took more than so many times what was expected was held up by something else."""
_REPAID = 30
"""Rounds in which proposals must have repaid what the drafter reads before the first."""
_LATELY, _LATELY_OF_ALL = 20, 80
"""Proposals of one reply, and of all that share passes, that tell how it goes at present."""
_HARDLY = 0.05
"""With so little chance that it is ever needed, no proposal is made."""
_HOLD = 4
"""Rounds for which a decision holds that loses less than a pass: all that it follows from changes slowly."""
_FRESH = 4
"""But not in so many rounds of the beginning, each of which tells much."""
_TRIES = 2
"""Passes of a size that are made to see what it takes: as many as it takes to know."""
_LEARN = 8
"""One round in so many is for learning how often the proposer is right where it would not be asked."""


@dataclass(frozen=True, slots=True)
class Round:
    """How many tokens to propose; fewer, where the proposer's own probability falls below `stop_below`."""

    n: int
    stop_below: float = 0.0


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a round is expected to yield and to take, for each reply."""

    round: Round
    n_tokens: float
    seconds: float

    @property
    def rate(self) -> float:
        return self.n_tokens / self.seconds


class Account:
    """What has been seen lately of one reply, or of all that share passes, and what may still be spent on trying."""

    def __init__(self, pair: Acceptance, *, n_lately: int) -> None:
        self.lately = Lately(pair, n_lately)
        self.saved_s = self.saved_at_best_s = 0.0
        self.n_decided = 0
        self.best = Round(0)


class Proposals:
    """What all replies of a pair have in common, for one proposer."""

    def __init__(self, acceptance: Acceptance | None = None) -> None:
        self.acceptance = acceptance or Acceptance()
        self.account = Account(self.acceptance, n_lately=_LATELY_OF_ALL)
        self.decided: tuple[int, Round] = (-1, Round(0))
        """The round of the pass with that number."""
        self.tried: Counter[int] = Counter()
        """How often a pass of so many tokens was made to see what it takes."""


class Pace:
    """Of one reply and proposer. Ask for the next round, between 0 and `limit` proposals, and record what came of it.

    Where replies share passes they propose alike: a drafter's step for a few keeps the others waiting.
    """

    def __init__(
        self,
        limit: int,
        costs: Costs,
        pair: Proposals | None = None,
        *,
        pinned: int | None = None,
        finisher: Source = "base",
        is_free: bool = False,
    ) -> None:
        """`pinned` proposals are made whatever they cost. `is_free`: they are made without a model."""
        self._limit = limit
        self._pinned = pinned
        self._costs = costs
        self._finisher = finisher
        self._is_free = is_free
        self._pair = pair or Proposals()
        self._own = Account(self._pair.acceptance, n_lately=_LATELY)
        self._n_missed = 0
        """Tokens that the drafter has not read."""

    def next(self) -> Round:
        """The next round."""
        if self._pinned is not None:
            return Round(min(self._pinned, self._limit))
        if self._together == 1:
            return self._decide(self._own)
        n_passes = self._costs.n_passes[self._finisher]
        if self._pair.decided[0] != n_passes:
            self._pair.decided = n_passes, self._decide(self._pair.account)
        decided = self._pair.decided[1]
        return Round(min(decided.n, self._limit), decided.stop_below)

    def record(self, asked: Round, proposal: Proposal, n_accepted: int, took_s: float) -> None:
        """What came of a round: of the proposal so many tokens stand, and its passes took this reply so long."""
        expected_s = self.expected_s(asked, len(proposal.chances))
        self.has_read()
        chances = proposal.chances
        stopped = proposal.unsure and n_accepted == len(chances)
        self._pair.acceptance.count(chances, n_accepted, stopped_below=asked.stop_below if stopped else 0.0)
        if self._are_known:
            took_s = min(took_s, _LONGEST * expected_s)
            self._save((n_accepted + 1) * self._pass_s(1) - (1 - self._allowance) * took_s)
        if not chances and not stopped:  # the proposer's text ends here: as good as a rejection, but of no token
            chances = [1.0]
        for account in (self._own, self._pair.account):
            account.lately.count(chances, n_accepted, bound=asked.stop_below, stopped=stopped)

    def skip(self, n_tokens: int) -> None:
        """So many tokens were written without this proposer."""
        self._n_missed += n_tokens
        self._save(self._allowance * self._pass_s(1))

    def has_read(self) -> None:
        """The drafter knows all of the text."""
        self._n_missed = 0

    def _decide(self, account: Account) -> Round:
        n, account.n_decided = account.n_decided, account.n_decided + 1
        if not self._are_known:  # some rounds with proposals and some without say what the others cost
            return Round(0 if n % 2 else min(_FIRST, self._limit))
        if n < _FRESH or n % _HOLD == 0 or account.saved_s < account.saved_at_best_s - self._pass_s(1):
            account.best, account.saved_at_best_s = self._best(account), account.saved_s
        if n % _HOLD == _HOLD - 1 and (size := self._guessed(account.best)):
            self._pair.tried[size] += 1
            return Round(size - 1)
        if n % _LEARN != _LEARN - 1:
            return account.best
        if account.best.n == 0:
            return self._trial(account)
        return Round(account.best.n) if account.saved_s > 0 else account.best

    def _best(self, account: Account) -> Round:
        """That of the most tokens per second, by what is known; what was really lost bounds the error of that."""
        plain = Outlook(Round(0), _WORTH if self._together == 1 else _WORTH_TOGETHER, self._pass_s(1))
        if account.saved_s < -_MOST_LOST * self._pass_s(1):
            if not self._costs.renew():
                return plain.round
            account.saved_s = 0.0
        return max(plain, *self._outlooks(account), key=lambda outlook: outlook.rate).round

    def _guessed(self, best: Round) -> int:
        """Tokens of a pass that was never made, and may take less than the block that stands for it: one less than in
        the best round, or two where that is plain decoding. 0 if there is none that is worth a try, which only a reply
        makes that keeps no other waiting.
        """
        size = best.n if best.n else 2
        if not 1 < size <= self._limit + 1 or best.stop_below or self._together > 1:
            return 0
        is_known = self._costs.is_measured(self._finisher, size) or self._pair.tried[size] == _TRIES
        return 0 if is_known or self._missed_s() > self._pass_s(1) else size

    def _trial(self, account: Account) -> Round:
        """A single proposal, if it can be afforded."""
        single = next(self._outlooks(account))
        loss_s = single.seconds + self._missed_s() - single.n_tokens * self._pass_s(1)
        return single.round if loss_s <= account.saved_s else Round(0)

    def _outlooks(self, account: Account) -> Iterator[Outlook]:
        """All rounds that come into question, the shortest first for each bound on the proposer's probability."""
        most = self._limit if self._together == 1 else min(self._limit, 2 * max(account.best.n, _FIRST_TOGETHER))
        read_s, missed_s = self._read_s(), self._missed_s() / _REPAID
        for bound, reach, accepted in account.lately.bounds():
            drafted_s, n_read, n_tokens, goes_on, stands = missed_s, 1.0, 1.0, 1.0, 1.0
            for n in range(1, most + 1):
                drafted_s += self._step_s(goes_on)
                goes_on *= reach
                stands *= reach * accepted
                n_read += goes_on
                n_tokens += stands
                yield Outlook(Round(n, bound), n_tokens, drafted_s + stands * read_s + self._pass_s(n_read))
                if stands < _HARDLY:
                    break

    def expected_s(self, asked: Round, n_proposed: int) -> float:
        """Seconds of such a round, for each reply if all proposed as many."""
        drafted_s = self._missed_s() + min(n_proposed + 1, asked.n) * self._step_s(1.0)
        return drafted_s + self._pass_s(n_proposed + 1)

    def _step_s(self, chance: float) -> float:
        """Seconds, for each reply, of a drafter's step that each of them takes with this chance."""
        if self._is_free:
            return 0.0
        n = self._together
        chance_of_any = 1 - (1 - chance) ** n
        return chance_of_any * (self._costs.pass_s("drafter", n * chance / chance_of_any) or 0.0) / n

    def _pass_s(self, n_tokens: float) -> float:
        """Seconds, for each reply, of a pass over so many tokens of each."""
        return (self._costs.pass_s(self._finisher, self._together * n_tokens) or 0.0) / self._together

    def _read_s(self) -> float:
        """If all was accepted, the drafter reads its last proposal with the next."""
        return 0.0 if self._is_free else self._costs.read_s()

    def _missed_s(self) -> float:
        """What the drafter needs to read before it can propose."""
        return self._n_missed * self._read_s()

    @property
    def _together(self) -> int:
        return self._costs.n_replies(self._finisher)

    @property
    def _allowance(self) -> float:
        return _ALLOWANCE / self._together

    @property
    def _are_known(self) -> bool:
        return self._costs.are_known(self._finisher, with_drafter=not self._is_free)

    def _save(self, seconds: float) -> None:
        """Time that proposals gain may be spent on trying again, and so may a small share of all time."""
        account = self._own if self._together == 1 else self._pair.account
        most_s = _MOST_SAVED / self._together * self._pass_s(1)
        account.saved_s = min(account.saved_s + seconds / self._together, most_s)
