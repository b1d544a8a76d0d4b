"""Whether the device computes what this runtime makes of its logits: tried on a few tokens when a context is made.

A backend may lack an operation, or have one that is wrong for rows of this length: replies would be nonsense.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_wsd.errors import DecodeError, LogitsError
from edge_wsd.llama.device_signal import DeviceSignal
from edge_wsd.llama.scores import Scores, read_rows
from edge_wsd.llama.sequence import Piece
from edge_wsd.redaction import logger_without_secrets

if TYPE_CHECKING:
    from edge_wsd.llama.context import Context

_LOG = logger_without_secrets(__name__)
_N_TOKENS = 4
_NEAR = 0.01
"""In log-probabilities: the same text read twice may be rounded differently on a GPU."""


def begin_signal(context: Context) -> None:
    """Give a new context its signal. One that is missing or wrong it does without, and a warning says so."""
    if context.model.relays:
        problem = "it is not known which operations another machine's device has"
    else:
        context.signal = DeviceSignal.of(context.handle, context.n_vocab)
        problem = _problem(context) if context.signal else "the device lacks an operation that it takes"
    if problem:
        context.signal = None
        _LOG.warning(
            "%s: device_signal is not used, because %s; numbers are read from logits, as with device_signal off",
            context.model.path,
            problem,
        )


def _problem(context: Context) -> str:
    """What is wrong with the numbers of the context's signal; empty if they are those of its logits."""
    signal = context.signal
    assert signal is not None
    n = min(_N_TOKENS, context.batch_size, context.n_ctx)
    tokens = [(i + 1) * (context.n_vocab - 1) // n for i in range(n)]
    sequence = context.sequence()
    piece = Piece(sequence, tokens, [*tokens[1:], -1])
    with context.lock:
        try:
            scores = _computed(context, piece)
            context.wipe()
            signal.detach()
            (address,) = context.decode([piece])
            return _difference(scores, address, piece.targets, context.n_vocab)
        finally:
            sequence.close()
            signal.n_passes = 0


def _computed(context: Context, piece: Piece) -> Scores | None:
    scores = Scores(context)
    try:
        context.run([piece], [scores])
    except (DecodeError, LogitsError):
        return None
    return scores


def _difference(scores: Scores | None, address: int, targets: list[int], n_vocab: int) -> str:
    """Between what was computed and the logits at `address`."""
    try:
        expected = read_rows(address, targets, n_vocab)
    except LogitsError:
        return ""  # of the model itself, and the first text will say so
    if scores is None:
        return "it makes no probabilities of logits that are sound"
    chosen = [scores.choose(row)[0] for row in range(len(targets))]
    if not all(0 <= token < n_vocab for token in chosen):
        return "it chooses tokens that do not exist"
    pairs = [*zip(scores.logprobs, [logprob for logprob, _, _ in expected], strict=False)]
    for of_chosen, _, top in read_rows(address, chosen, n_vocab):
        pairs.append((of_chosen, top))  # of two that are about as probable it may be either
    wrong = [(a, b) for a, b in pairs if a != b and not abs(a - b) <= _NEAR * (1 + abs(b))]
    return f"it computes a log-probability of {wrong[0][0]:.3g} where the logits say {wrong[0][1]:.3g}" if wrong else ""
