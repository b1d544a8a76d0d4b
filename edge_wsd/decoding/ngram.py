"""Lookup: what followed the last time the same few tokens stood in the prompt or the reply.

It needs no model, so it also makes a model faster that writes by itself. Answers that quote, repeat or edit their
prompt gain most.

Source: Saxena, "Prompt Lookup Decoding", 2023, github.com/apoorvumang/prompt-lookup-decoding. There the first place
where the longest match stands is taken, here the latest, and only as far as such matches were right before.
"""

from __future__ import annotations

from dataclasses import replace

from edge_wsd.decoding.proposal import Proposal
from edge_wsd.decoding.protocols import Vocabulary, Writing

SURE_ENOUGH = 0.4
"""What is right less often is not worth a place in a pass of the base. (`docs/speed.md` has the figures.)"""
SURER_THAN_A_DRAFTER = 0.8
"""What is right less often is better left to a drafter, if that is to propose."""
_LONGEST = 5
_FIRST_PRECISION = (0.2, 0.6, 0.7, 0.75, 0.9)
"""How often a match of 1, 2, … tokens is right, before anything is known of a reply: measured on ordinary answers."""
_NEWEST = 0.1
"""Weight of the newest match in that."""


class NgramLookup:
    """Of one reply, in the tokens of the model that writes it. The longest match counts, and of these the latest.

    Every token of the reply tells whether a match would have been right, proposed or not. So it is always known how far
    each length can be trusted: that is the probability of what is proposed.
    """

    def __init__(self, prompt: list[int], vocabulary: Vocabulary) -> None:
        """`prompt` is what stands before the reply, with a given beginning."""
        self.seconds = 0.0
        """What its passes took: it makes none."""
        self.precision = list(_FIRST_PRECISION)
        """By the length of the match, from 1 on."""
        self._prompt = prompt
        self._vocabulary = vocabulary
        self._text: list[int] = []
        self._behind: dict[tuple[int, ...], int] = {}
        """For each run of up to `_LONGEST` tokens, the place behind its latest occurrence that something follows."""

    def propose(self, reply: list[int], n: int, stop_below: float = 0.0) -> Writing[Proposal]:
        """Up to `n` tokens that may follow `reply`, which only grows from call to call.

        It stops early where they are right with a probability below `stop_below`, or at the end of a text.
        """
        yield from ()
        self._read(reply)
        length, at = self._match()
        proposal = Proposal(proposer="ngram")
        # A text that repeats itself goes on in what was just proposed.
        text, end = self._text, len(self._text)
        while at is not None and len(proposal.tokens) < n:
            token = text[at] if at < end else proposal.tokens[at - end]
            chance = self.precision[min(length, _LONGEST) - 1]
            if chance < stop_below:
                return replace(proposal, unsure=True)
            if self._vocabulary.is_end(token):
                break
            proposal.tokens.append(token)
            proposal.chances.append(chance)
            length, at = length + 1, at + 1
        return proposal

    def _read(self, reply: list[int]) -> None:
        """Take in what is new. The cost of a token does not depend on what stands before it."""
        if not self._text:
            for token in self._prompt:
                self._add(token)
        for token in reply[len(self._text) - len(self._prompt) :]:
            length, at = self._match()
            if at is not None:
                right = float(self._text[at] == token)
                self.precision[length - 1] += _NEWEST * (right - self.precision[length - 1])
            self._add(token)

    def _add(self, token: int) -> None:
        text = self._text
        text.append(token)
        end = len(text) - 1
        for length in range(1, min(_LONGEST, end) + 1):
            self._behind[tuple(text[end - length : end])] = end

    def _match(self) -> tuple[int, int | None]:
        """How many of the last tokens have stood before, and the place behind; None if not even one has."""
        text = self._text
        for length in range(min(_LONGEST, len(text)), 0, -1):
            if (at := self._behind.get(tuple(text[-length:]))) is not None:
                return length, at
        return 0, None
