"""What a model thinks of tokens: one row of logits behind each, read where llama.cpp left it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from edge_wsd import _native
from edge_wsd.errors import DecodeError
from edge_wsd.llama.row import Row
from edge_wsd.llama.sampler import Sampler

if TYPE_CHECKING:
    from edge_wsd.llama.context import Context

FLOAT_BYTES = 4


class Scores:
    """Row i is what follows the text and the first i proposed tokens.

    Draws read llama.cpp's buffer: they hold until the next decode in the same context, and only for rows of the last.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._rows: list[Row] = []
        self._first, self._address, self._decode = 0, 0, -1  # the rows in the buffer, of which decode
        self.sampler: Sampler | None = None
        self.n_likeliest = 0
        """How many of the likeliest tokens of each row are kept."""
        self._likeliest: list[list[tuple[int, float]]] = []
        self.seconds = 0.0

    def add(self, rows: list[Row], address: int, seconds: float) -> None:
        """The rows of one decode, behind those of the one before; the first lies at `address`, and nobody may
        overwrite it during the call.
        """
        self._first, self._address, self._decode = len(self._rows), address, self._context.n_decodes
        self._rows += rows
        if self.n_likeliest and rows:
            n_vocab = self._context.n_vocab
            self._likeliest += _native.likeliest(address, len(rows), n_vocab, self.n_likeliest)
        self.seconds += seconds

    @property
    def n_rows(self) -> int:
        return len(self._rows)

    @property
    def logprobs(self) -> list[float]:
        """Log-probability (natural, temperature 1) of each token asked about, given everything before it."""
        return [logprob for logprob, _, _ in self._rows if not math.isnan(logprob)]  # NaN where none was asked about

    def top(self, row: int) -> float:
        """Log-probability of the most probable token."""
        return self._rows[row][2]

    def likeliest(self, row: int) -> list[tuple[int, float]]:
        """The `n_likeliest` most probable tokens and their log-probabilities, the best first."""
        return self._likeliest[row]

    def choose(self, row: int) -> tuple[int, float]:
        """The most probable token and its log-probability, or those of one that the sampler draws."""
        if self.sampler is None:
            _, token, logprob = self._rows[row]
            return token, logprob
        with self._context.lock:  # nobody may free the buffer meanwhile
            self._context.require_open()
            if not self._address:
                raise DecodeError("these rows have no logits to draw from: score them with device_signal off")
            if self._decode != self._context.n_decodes or row < self._first:
                raise DecodeError("these logits are gone: another decode came between scoring and sampling")
            n_vocab = self._context.n_vocab
            return self.sampler.choose(self._address + (row - self._first) * n_vocab * FLOAT_BYTES, n_vocab)


def read_rows(address: int, targets: list[int], n_vocab: int) -> list[Row]:
    """The rows from `address` on, asked about one of `targets` each; -1 asks about none."""
    if len(targets) == 1:
        return [_native.score_row(address, n_vocab, targets[0])]
    columns = _native.score_rows(address, len(targets), n_vocab, np.array(targets, np.int32))
    return list(zip(*(column.tolist() for column in columns), strict=True))
