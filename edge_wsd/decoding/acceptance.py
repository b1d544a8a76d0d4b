"""The acceptance rule after the switch: speculative decoding with one's own choice as the only judge.

Source: Leviathan et al., arXiv 2211.17192, in its exact form: a proposal stands if the base would have chosen it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

Choice = tuple[int, float]
"""A token and its log-probability."""


def accepted_choices(
    proposed: Sequence[int], choose: Callable[[int], Choice], *, first: int = 0, n_rows: int
) -> Iterator[Choice]:
    """The base's own choices, from row `first` on, as far as its `n_rows` rows hold.

    Row i was computed behind the first i proposed tokens, so it holds while those from `first` on equal the choices.
    The last choice is new: the first that differs from its proposal, or the one behind all proposals, if there is a
    row for it. `choose` is asked exactly once per choice yielded, so a random draw is never taken and thrown away: the
    text does not depend on how much was proposed.
    """
    for row in range(first, n_rows):
        choice = choose(row)
        yield choice
        if row == len(proposed) or choice[0] != proposed[row]:
            return
