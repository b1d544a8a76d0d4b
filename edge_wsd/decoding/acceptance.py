"""The acceptance rule after the switch: speculative decoding with one's own choice as the only judge.

Source: Leviathan et al., arXiv 2211.17192, in its exact form: a proposal stands if the base would have chosen it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

Choice = tuple[int, float]
"""A token and its log-probability."""


def accepted_choices(proposed: Sequence[int], choose: Callable[[int], Choice]) -> Iterator[Choice]:
    """The base's own choices, from row 0 on, as far as its rows hold.

    Row i was computed behind the first i proposed tokens, so it holds while those equal the choices before it. The
    last choice yielded is always new: the first that differs from its proposal, or the one behind all proposals.
    `choose` is asked exactly once per choice yielded, so a random draw is never taken and thrown away: the text does
    not depend on how much was proposed.
    """
    for row in range(len(proposed) + 1):
        choice = choose(row)
        yield choice
        if row == len(proposed) or choice[0] != proposed[row]:
            return
