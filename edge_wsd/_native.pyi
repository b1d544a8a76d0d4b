"""The native core: reads rows of logits in place, chooses tokens, whole vocabularies, flags that cancel a decode.

A row is `n_vocab` contiguous float32 values; a matrix is `n_rows` such rows without gaps, as llama.cpp keeps
its logits. `address` is where it begins, for example `ctypes.addressof(pointer.contents)` or
`array.ctypes.data`; the memory must stay valid and unchanged during the call. It is read in place while the
GIL is released.

Log-probabilities are natural logarithms of the softmax, within 1e-5 of the exact value. Rows with +inf are
taken as the limit: each +inf shares the whole probability equally, everything else has log-probability -inf.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

def score_row(address: int, n_vocab: int, target: int = -1) -> tuple[float, int, float]:
    """Scores one row: (log-probability of `target`, greedy token id, log-probability of the greedy token).

    The greedy token is the lowest id with the highest logit. For target -1 (none) the first is NaN.
    Raises `ValueError` for a null or misaligned address, an empty row or a target outside -1 ... n_vocab - 1,
    and `edge_wsd.errors.LogitsError` for NaN or a row of nothing but -inf.
    """

def score_rows(
    address: int, n_rows: int, n_vocab: int, targets: NDArray[np.int32]
) -> tuple[NDArray[np.float64], NDArray[np.int32], NDArray[np.float64]]:
    """Scores a matrix: log-probabilities of `targets`, greedy ids, their log-probabilities; each (n_rows,).

    `targets` holds one id (or -1) for each row: int32, contiguous, shape (n_rows,); anything else is a
    `TypeError`, for it is not converted. With `n_rows` 0 the address is not looked at. The other errors are
    those of `score_row` and name the row.
    """

def likeliest(address: int, n_rows: int, n_vocab: int, n: int) -> list[list[tuple[int, float]]]:
    """Of each row the `n` most probable tokens with their log-probabilities, the best first; of equals the lower id.

    Fewer where fewer have any probability. Raises as `score_rows` does.
    """

def all_texts(get_text: int, vocabulary: int, n_tokens: int) -> list[bytes]:
    """The text of every token: what the function at the address `get_text` (`llama_vocab_get_text`) says of each.

    `vocabulary` is the address of the `llama_vocab`; `n_tokens` must be the number of its tokens. Raises `ValueError`
    for a null address.
    """

def all_pieces(to_piece: int, vocabulary: int, n_tokens: int) -> list[bytes]:
    """The same for the bytes that tokens stand for, from `llama_token_to_piece`; empty for control tokens."""

def all_attributes(get_attributes: int, vocabulary: int, n_tokens: int) -> NDArray[np.int32]:
    """The same for the attribute bits, from `llama_vocab_get_attr`; shape (n_tokens,)."""

def split_texts(window: bytes, at: int, count: int, most: int) -> tuple[list[str], int]:
    """The next strings of an array in a GGUF file, up to `count`, from byte `at` of `window` on, and where they end.

    Each stands behind its length (64 bits, little-endian). Stops before the first that is not whole, is longer than
    `most` bytes or is not UTF-8. Raises `ValueError` for an `at` behind the window.
    """

def go_on(
    decoder: tuple[int, int, int, int, int, int],
    texts: Sequence[tuple[int, float, int, int]],
    most: int,
    stops: Sequence[Sequence[int]],
    least_logprob: float,
    enough: CancelFlag,
) -> tuple[list[tuple[list[int], list[float]]], int]:
    """Writes texts on with their most probable tokens; each step is one decode of all of them.

    `decoder`: the addresses of `llama_decode`, `llama_get_logits`, `llama_vocab_is_eog`, of the context and of its
    model's vocabulary; the number of its entries. `texts`: of each the next token to be read, its log-probability, its
    position and its sequence. Ends after `most` steps; before a step once `enough` is set, or any text has come to a
    token that ends it, is among its `stops` or has a log-probability below `least_logprob`.

    Returns the steps, each with a token and its log-probability for each text (the tokens of the last step are not
    read), and the code of the decode that failed, or 0. Raises `ValueError` for null addresses and tokens outside the
    vocabulary, and `LogitsError` as `score_row` does.
    """

def batch_layout() -> list[tuple[str, int]]:
    """The fields of `llama_batch`, and at which byte each begins, as `go_on` passes it."""

def isa() -> str:
    """Names the implementation in use: "avx512", "avx2", "neon" or "portable"."""

def available_isas() -> list[str]:
    """Names the implementations that this machine runs, fastest first."""

def force_isa(name: str) -> None:
    """Uses another implementation from now on, in the whole process: for tests and measurements.

    Raises `ValueError` for one that this machine does not run.
    """

class Sampler:
    """Chooses tokens as llama.cpp does: top-k, top-p, min-p, temperature, a draw. Of equal logits the first one wins.

    The n-th choice takes the n-th random number of the seed and no other. Used by one thread at a time.
    """

    def __init__(
        self,
        *,
        temperature: float,
        top_k: int,
        top_p: float,
        min_p: float,
        seed: int,
        biases: Sequence[tuple[int, float]] = (),
        repeat_last_n: int = 0,
        repeat_penalty: float = 1.0,
        frequency_penalty: float = 0.0,
        presence_penalty: float = 0.0,
        grammar: tuple[int, int, int, int, float] | None = None,
    ) -> None:
        """`temperature` 0 takes the most probable token; `top_k` 0, `top_p` 1 and `min_p` 0 keep all.

        `biases` are added first (token, bias; -inf forbids one), then the penalties of the last `repeat_last_n`
        tokens accepted (-1: of all). `grammar` holds the addresses of `llama_sampler_apply`, `llama_sampler_accept`, of
        a grammar's sampler and of all tokens by length (int32 [n_vocab]), which must outlive this one, and the most
        seconds that it may take: where it refuses a choice, the next one is made among what it allows. Raises
        `ValueError` for a temperature below 0, a repeat penalty that is not above 0, and biases that are no numbers or
        of negative tokens.
        """

    def choose(self, address: int, n_vocab: int) -> tuple[int, float]:
        """The token chosen from a row, and its log-probability as `score_row` tells it, whatever was filtered.

        Raises as `score_row` does, `LogitsError` where the biases forbid every token, `GrammarError` where the
        grammar does, or takes too long.
        """

    def accept(self, token: int, ruled: bool = True) -> None:
        """Counts a token that stands in front of the next choice; the grammar goes on by it where it is `ruled`.

        Raises `GrammarError` for a ruled token that the grammar does not allow.
        """

class CancelFlag:
    """A flag that compiled code polls, so that any thread can stop a running decode.

    Hand `callback` and `address` to `llama_set_abort_callback` as function and user data, and keep the flag
    alive as long as they are in use. Every method may be called from any thread.
    """

    callback: ClassVar[int]
    """Address of a C function `bool (*)(void *)` that tells whether the flag at the given address is set."""

    def __init__(self) -> None: ...
    def set(self) -> None: ...
    def clear(self) -> None: ...
    @property
    def is_set(self) -> bool: ...
    @property
    def address(self) -> int:
        """Where the flag is: the argument that `callback` expects."""
