"""What a model thinks of proposed tokens."""

from __future__ import annotations

from collections.abc import Callable

from edge_wsd.llama.sampler import Sampler

Row = tuple[float, int, float]
"""Log-probability of the token asked about, the most probable token, its log-probability."""


class Scores:
    """Row i is what follows the context and the first i proposed tokens; so there is one row more than tokens.

    Drawn choices read llama.cpp's buffer: they hold until the next decode in the same context.
    """

    def __init__(self, rows: list[Row], draw: Callable[[int, Sampler], tuple[int, float]]) -> None:
        self._rows = rows
        self._draw = draw

    @property
    def logprobs(self) -> list[float]:
        """Log-probability (natural, temperature 1) of each proposed token, given everything before it."""
        return [row[0] for row in self._rows[:-1]]

    def joined(self, rest: Scores) -> Scores:
        """These scores and those of the tokens behind them, from a later batch."""
        n = len(self._rows) - 1  # the last row of this batch is the first of the next
        return Scores(self._rows[:-1] + rest._rows, lambda row, sampler: rest._draw(row - n, sampler))

    def choose(self, row: int, sampler: Sampler | None = None) -> tuple[int, float]:
        """The model's own choice at `row` and its log-probability: the most probable token, or one drawn."""
        if sampler is not None:
            return self._draw(row, sampler)
        _, token, logprob = self._rows[row]
        return token, logprob
