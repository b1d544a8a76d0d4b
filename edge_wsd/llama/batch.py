"""The reusable batch that a context decodes: numpy arrays in the layout of `llama_batch`."""

from __future__ import annotations

import ctypes

import numpy as np
from numpy.typing import NDArray

from edge_wsd.llama.binding import llama_cpp


class DecodeBatch:
    """One reusable `llama_batch` over numpy arrays: pieces of one sequence or of several."""

    def __init__(self, size: int) -> None:
        self._tokens = np.zeros(size, np.int32)
        self._positions = np.zeros(size, np.int32)
        self._wants_logits = np.zeros(size, np.int8)
        self._ids = np.zeros(size, np.int32)
        self._counts = np.ones(size, np.int32)
        # Every token's list of sequences is one element of `_ids`.
        self._sequences = np.arange(size, dtype=np.uintp) * self._ids.itemsize + self._ids.ctypes.data
        self._views = (self._tokens.data, self._positions.data, self._wants_logits.data, self._ids.data)
        self._ramp = np.arange(size, dtype=np.int32)
        self.struct = llama_cpp.llama_batch(
            n_tokens=0,
            token=_pointer(self._tokens, ctypes.c_int32),
            embd=None,
            pos=_pointer(self._positions, ctypes.c_int32),
            n_seq_id=_pointer(self._counts, ctypes.c_int32),
            seq_id=_pointer(self._sequences, ctypes.POINTER(ctypes.c_int32)),
            logits=_pointer(self._wants_logits, ctypes.c_int8),
        )

    @property
    def n_tokens(self) -> int:
        return int(self.struct.n_tokens)

    @property
    def outputs(self) -> list[int]:
        """The tokens with logits, by their place in the batch."""
        return [int(at) for at in np.flatnonzero(self._wants_logits[: self.n_tokens])]

    def clear(self) -> None:
        """Take all tokens out."""
        self.struct.n_tokens = 0

    def add(self, tokens: list[int], position: int, sequence: int, n_logits: int) -> None:
        """`tokens` of a sequence from `position` on, with logits for the last `n_logits` of them."""
        start, end = self.n_tokens, self.n_tokens + len(tokens)
        if len(tokens) == 1 and n_logits < 2:  # the next token of a text, for which numpy takes its time
            for view, value in zip(self._views, (tokens[0], position, n_logits, sequence), strict=True):
                view[start] = value
            self.struct.n_tokens = end
            return
        self._tokens[start:end] = tokens
        np.add(self._ramp[: len(tokens)], position, out=self._positions[start:end])
        self._wants_logits[start : end - n_logits] = 0
        self._wants_logits[end - n_logits : end] = 1
        self._ids[start:end] = sequence
        self.struct.n_tokens = end


def _pointer(array: NDArray[np.generic], kind: type) -> object:
    return ctypes.cast(array.ctypes.data, ctypes.POINTER(kind))
