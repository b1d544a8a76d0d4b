"""llama.cpp's own chain of samplers, which the product's sampler is compared with."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_wsd.llama.binding import llama_cpp

_CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])


@contextmanager
def chain(*samplers: Any) -> Iterator[int]:
    """A chain that owns these, in their order."""
    handle = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
    try:
        for sampler in samplers:
            llama_cpp.llama_sampler_chain_add(handle, sampler)
        yield handle
    finally:
        llama_cpp.llama_sampler_free(handle)


def filters(*, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0, min_p: float = 0.0) -> list[Any]:
    """Those that filter a row, in the order of llama.cpp's own programs. Without a draw at their end."""
    found = []
    if top_k > 0:
        found.append(llama_cpp.llama_sampler_init_top_k(top_k))
    if top_p < 1:
        found.append(llama_cpp.llama_sampler_init_top_p(top_p, 1))
    if min_p > 0:
        found.append(llama_cpp.llama_sampler_init_min_p(min_p, 1))
    return [*found, llama_cpp.llama_sampler_init_temp(temperature)]


def seeded_draw(seed: int) -> Any:
    """The draw at the end of a chain."""
    return llama_cpp.llama_sampler_init_dist(seed)


class Candidates:
    """A row as llama.cpp's samplers take it; a chain changes it."""

    def __init__(self, row: NDArray[np.float32]) -> None:
        self.entries = np.zeros(len(row), _CANDIDATE)
        self.entries["id"] = np.arange(len(row))
        self.entries["logit"] = row
        self.array = llama_cpp.llama_token_data_array(
            data=ctypes.cast(self.entries.ctypes.data, llama_cpp.llama_token_data_p),
            size=len(row),
            selected=-1,
            sorted=False,
        )

    def after(self, handle: int) -> Candidates:
        llama_cpp.llama_sampler_apply(handle, ctypes.byref(self.array))
        return self

    @property
    def selected(self) -> int:
        return int(self.entries["id"][self.array.selected])

    @property
    def logits(self) -> NDArray[np.float64]:
        """By token; -inf where the chain has left one out."""
        kept = self.entries[: self.array.size]
        found = np.full(len(self.entries), -np.inf)
        found[kept["id"]] = kept["logit"]
        return found

    @property
    def probabilities(self) -> NDArray[np.float64]:
        weights = np.exp(self.logits - self.logits.max())
        return weights / weights.sum()
