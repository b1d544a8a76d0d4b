"""What the rule `nudge` would have made of a draft, as far as that can be known.

The two models take turns, so their text is the draft's only as long as the base, where it writes itself, chooses what
the drafter has written. Behind the first difference nothing is known.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from edge_wsd.calibration.draft import ScoredDraft
from edge_wsd.decoding.drafter import LONGEST_WORD
from edge_wsd.decoding.events import Source


@dataclass(frozen=True, slots=True)
class NudgedDraft:
    """One value of `Options.nudge_below` on one draft. For greedy replies of two models of one vocabulary."""

    sources: tuple[Source, ...]
    """Who would have written each token, as far as the text is known to be the draft's."""
    n_words: int
    """How often the drafter would have had its turn."""
    n_draft: int
    """Tokens of the draft."""

    @property
    def n_known(self) -> int:
        return len(self.sources)

    @property
    def n_drafted(self) -> int:
        """Tokens of the known part that the drafter would have written."""
        return self.sources.count("drafter")

    def as_dict(self, nudge_below: float) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "rule": "nudge",
            "nudge_below": nudge_below,
            "n_known": self.n_known,
            "n_drafted": self.n_drafted,
            "n_words": self.n_words,
            "whole": self.n_known == self.n_draft,
        }


def nudged(draft: ScoredDraft, nudge_below: float) -> NudgedDraft:
    """The draft as the rule `nudge` would have written it, up to the first token that it writes differently."""
    surest = math.log(nudge_below)
    sources: list[Source] = []
    n_words = 0
    while (at := len(sources)) < len(draft):
        choice, logprob = draft.choices[at]
        if logprob < surest:
            sources += ["drafter"] * _word_length(draft.pieces[at:])
            n_words += 1
        elif choice == draft.ids[at]:
            sources.append("base")
        else:
            break
    return NudgedDraft(tuple(sources), n_words, len(draft))


def _word_length(pieces: Sequence[bytes]) -> int:
    """Tokens of the word that the pieces begin with, as the drafter writes it: with the white space before it."""
    has_begun = False
    for n, piece in enumerate(pieces[:LONGEST_WORD]):
        if has_begun and piece[:1].isspace():
            return n
        has_begun |= not piece.isspace()
    return min(len(pieces), LONGEST_WORD)


@dataclass(frozen=True, slots=True)
class NudgeRow:
    """One value of `Options.nudge_below` over all drafts. Shares are 0 to 1."""

    nudge_below: float
    n: int
    """Drafts."""
    n_whole: int
    """Drafts of which the rule would have written every token."""
    known_share: float
    """Share of the draft that is known: the median."""
    drafted_share: float | None
    """Share of the known tokens that the drafter would have written, of all drafts together; None if none is known."""


def nudge_row(nudge_below: float, drafts: Sequence[ScoredDraft]) -> NudgeRow:
    """The figures of one value; no draft may be empty."""
    found = [nudged(draft, nudge_below) for draft in drafts]
    n_known = sum(one.n_known for one in found)
    return NudgeRow(
        nudge_below=nudge_below,
        n=len(drafts),
        n_whole=sum(one.n_known == one.n_draft for one in found),
        known_share=median(one.n_known / one.n_draft for one in found),
        drafted_share=sum(one.n_drafted for one in found) / n_known if n_known else None,
    )
