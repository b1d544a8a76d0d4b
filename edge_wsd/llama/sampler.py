"""llama.cpp's sampler chain: top-k, top-p, min-p, temperature, and a seeded draw."""

from __future__ import annotations

import llama_cpp

from edge_wsd.errors import OptionError


class Sampler:
    """Owner of a sampler chain. One per model and reply: its random state advances with every token drawn."""

    def __init__(self, *, temperature: float, top_k: int, top_p: float, min_p: float, seed: int) -> None:
        if temperature <= 0:
            raise OptionError("a sampler needs a temperature above 0; greedy decoding needs no sampler")
        parameters = llama_cpp.llama_sampler_chain_default_params()
        self._handle = llama_cpp.llama_sampler_chain_init(parameters)
        if top_k > 0:
            self._add(llama_cpp.llama_sampler_init_top_k(top_k))
        if top_p < 1:
            self._add(llama_cpp.llama_sampler_init_top_p(top_p, 1))
        if min_p > 0:
            self._add(llama_cpp.llama_sampler_init_min_p(min_p, 1))
        self._add(llama_cpp.llama_sampler_init_temp(temperature))
        self._add(llama_cpp.llama_sampler_init_dist(seed))

    def _add(self, sampler: object) -> None:
        llama_cpp.llama_sampler_chain_add(self._handle, sampler)  # the chain owns it from here on

    def sample(self, context: int, index: int) -> int:
        """Draw from the logits at batch position `index` of the last decode."""
        return int(llama_cpp.llama_sampler_sample(self._handle, context, index))

    def close(self) -> None:
        if self._handle:
            llama_cpp.llama_sampler_free(self._handle)
            self._handle = None
