"""The reusable batch that a context decodes: numpy arrays in the layout of `llama_batch`."""

from __future__ import annotations

import ctypes

import numpy as np
from numpy.typing import NDArray

from edge_wsd.llama.binding import llama_cpp


class Batch:
    """One reusable `llama_batch` over numpy arrays. All tokens of a batch belong to one sequence."""

    def __init__(self, size: int) -> None:
        self.tokens = np.zeros(size, np.int32)
        self.positions = np.zeros(size, np.int32)
        self.wants_logits = np.zeros(size, np.int8)
        self.sequence = np.zeros(1, np.int32)
        self._counts = np.ones(size, np.int32)
        # Every token's list of sequences is the same one-element array.
        self._sequences = np.full(size, self.sequence.ctypes.data, np.uintp)
        self._ramp = np.arange(size, dtype=np.int32)
        self.struct = llama_cpp.llama_batch(
            n_tokens=0,
            token=_pointer(self.tokens, ctypes.c_int32),
            embd=None,
            pos=_pointer(self.positions, ctypes.c_int32),
            n_seq_id=_pointer(self._counts, ctypes.c_int32),
            seq_id=_pointer(self._sequences, ctypes.POINTER(ctypes.c_int32)),
            logits=_pointer(self.wants_logits, ctypes.c_int8),
        )

    def fill(self, tokens: list[int], position: int, sequence: int, n_logits: int) -> None:
        """`tokens` from `position` on, with logits for the last `n_logits` of them."""
        n = len(tokens)
        self.tokens[:n] = tokens
        np.add(self._ramp[:n], position, out=self.positions[:n])
        self.wants_logits[: n - n_logits] = 0
        self.wants_logits[n - n_logits : n] = 1
        self.sequence[0] = sequence
        self.struct.n_tokens = n


def _pointer(array: NDArray[np.generic], kind: type) -> object:
    return ctypes.cast(array.ctypes.data, ctypes.POINTER(kind))
