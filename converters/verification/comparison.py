"""How far one model's predictions are from another's: log-probabilities, KL divergence, top-1, perplexity.

>>> tally = Tally()
>>> tally.add(reference_rows, rows, targets)      # as often as there are chunks of rows
>>> tally.result().mean_kl
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from edge_wsd.errors import VerificationError

Logits = npt.NDArray[np.float32]
"""Shape (n_rows, n_vocab): row i is what follows token i."""

# Values of a row block that are in 64-bit floats at once; a few arrays of 8 MiB.
_BLOCK_VALUES = 1 << 20


@dataclass(frozen=True, slots=True)
class Comparison:
    """A model against its reference, over every position of a text that has a next token. Divergences in nats.

    KL divergence is that of the model from the reference. An `_error` is one standard error of the mean over
    tokens, carried over to the perplexity or the ratio; None for a single token.
    """

    n_tokens: int
    max_delta: float
    """Largest difference of a log-probability, over all positions and the whole vocabulary."""
    mean_kl: float
    kl_99: float
    """99 % of the positions have a KL divergence up to this."""
    max_kl: float
    top1_agreement: float
    """Share of positions at which both find the same token most probable."""
    reference_perplexity: float
    reference_perplexity_error: float | None
    perplexity: float
    perplexity_error: float | None
    ratio: float
    """Perplexity over that of the reference."""
    ratio_error: float | None


@dataclass
class Tally:
    """Gathers positions; keeps three numbers for each. Rows are only read while they are added."""

    max_delta: float = 0.0
    n_same_top: int = 0
    _divergences: list[npt.NDArray[np.float64]] = field(default_factory=list)
    _reference_losses: list[npt.NDArray[np.float64]] = field(default_factory=list)
    _losses: list[npt.NDArray[np.float64]] = field(default_factory=list)

    def add(self, reference: Logits, rows: Logits, targets: npt.NDArray[np.int64]) -> None:
        """Both of shape (n, n_vocab); `targets` (n,) are the tokens that really follow. All must be finite."""
        step = max(1, _BLOCK_VALUES // max(1, reference.shape[1]))
        for first in range(0, len(reference), step):
            part = slice(first, first + step)
            self._add_block(log_softmax(reference[part]), log_softmax(rows[part]), targets[part])

    def _add_block(
        self, reference: npt.NDArray[np.float64], model: npt.NDArray[np.float64], targets: npt.NDArray[np.int64]
    ) -> None:
        delta = reference - model
        self.max_delta = max(self.max_delta, float(np.abs(delta).max()))
        self.n_same_top += int(np.count_nonzero(reference.argmax(axis=1) == model.argmax(axis=1)))
        # Rounding can leave a divergence of equal rows a hair below zero.
        self._divergences.append(np.maximum((np.exp(reference) * delta).sum(axis=1), 0.0))
        position = np.arange(len(targets))
        self._reference_losses.append(-reference[position, targets])
        self._losses.append(-model[position, targets])

    def result(self) -> Comparison:
        """Raises VerificationError if nothing was added."""
        if not self._losses:
            raise VerificationError("there is no text to compare; give a text of at least two tokens")
        divergences = np.concatenate(self._divergences)
        reference, losses = np.concatenate(self._reference_losses), np.concatenate(self._losses)
        reference_perplexity, reference_error = _perplexity(reference)
        perplexity, error = _perplexity(losses)
        # The same tokens are hard for both, so the ratio is far better known than either perplexity.
        ratio, ratio_error = _perplexity(losses - reference)
        return Comparison(
            len(losses), self.max_delta, float(divergences.mean()), float(np.percentile(divergences, 99)),
            float(divergences.max()), self.n_same_top / len(losses), reference_perplexity, reference_error,
            perplexity, error, ratio, ratio_error,
        )  # fmt: skip


def log_softmax(logits: Logits) -> npt.NDArray[np.float64]:
    """Natural log-probabilities of each row, in 64-bit floats."""
    rows = logits.astype(np.float64)
    rows -= rows.max(axis=1, keepdims=True)
    rows -= np.log(np.exp(rows).sum(axis=1, keepdims=True))
    return rows


def _perplexity(losses: npt.NDArray[np.float64]) -> tuple[float, float | None]:
    """exp of the mean loss, and its standard error; infinite where that is beyond a float."""
    mean = float(losses.mean())
    value = math.exp(mean) if mean < 700 else math.inf
    if len(losses) < 2:
        return value, None
    return value, value * float(losses.std(ddof=1)) / math.sqrt(len(losses))
