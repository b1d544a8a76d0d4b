"""llama.cpp's sampler chain: top-k, top-p, min-p, temperature, and a seeded draw."""

from __future__ import annotations

import ctypes

import numpy as np
from numpy.typing import NDArray

from edge_wsd import _native
from edge_wsd.errors import OptionError
from edge_wsd.llama.binding import llama_cpp
from edge_wsd.llama.handle import Handle

_CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])


class Sampler:
    """Owner of a sampler chain. One per model and reply: its random state advances with every token drawn."""

    def __init__(self, *, temperature: float, top_k: int, top_p: float, min_p: float, seed: int) -> None:
        if temperature <= 0:
            raise OptionError("a sampler needs a temperature above 0; greedy decoding needs no sampler")
        parameters = llama_cpp.llama_sampler_chain_default_params()
        self._handle = Handle(llama_cpp.llama_sampler_chain_init(parameters), "this sampler")
        if top_k > 0:
            self._add(llama_cpp.llama_sampler_init_top_k(top_k))
        if top_p < 1:
            self._add(llama_cpp.llama_sampler_init_top_p(top_p, 1))
        if min_p > 0:
            self._add(llama_cpp.llama_sampler_init_min_p(min_p, 1))
        self._add(llama_cpp.llama_sampler_init_temp(temperature))
        self._add(llama_cpp.llama_sampler_init_dist(seed))

    def _add(self, sampler: object) -> None:
        llama_cpp.llama_sampler_chain_add(self._handle.pointer, sampler)  # the chain owns it from here on

    def choose(self, address: int, n_vocab: int) -> tuple[int, float]:
        """Draw a token from the row of `n_vocab` logits at `address`; returns it with its log-probability."""
        row = np.ctypeslib.as_array((ctypes.c_float * n_vocab).from_address(address))
        token = self.sample(row)
        return token, _native.score_row(address, n_vocab, token)[0]

    def sample(self, logits: NDArray[np.float32]) -> int:
        """Draw a token from a row of logits, float32 [n_vocab]. Raises `ClosedError`."""
        # llama.cpp divides by the temperature first: what is not below 0 would overflow at low ones.
        peak = logits.max()
        logits = logits - peak if np.isfinite(peak) else np.where(logits == peak, np.float32(0), -np.float32(np.inf))
        candidates = np.empty(len(logits), _CANDIDATE)
        candidates["id"] = np.arange(len(logits), dtype=np.int32)
        candidates["logit"] = logits
        candidates["p"] = 0.0
        array = llama_cpp.llama_token_data_array(
            data=ctypes.cast(candidates.ctypes.data, llama_cpp.llama_token_data_p),
            size=len(logits),
            selected=-1,
            sorted=False,
        )
        llama_cpp.llama_sampler_apply(self._handle.pointer, ctypes.byref(array))
        return int(candidates["id"][array.selected])

    def close(self) -> None:
        """Free it. Closing twice does nothing."""
        if pointer := self._handle.take():
            llama_cpp.llama_sampler_free(pointer)
