"""Texts that are written on in native code: many greedy steps for one call, where Python would be asked in between.

What Python does between two decodes takes longer the more memory a decode goes through, for its own has left the caches
by then: 0.4 ms between two steps of a drafter with 128,256 entries (docs/speed.md).
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

from edge_wsd import _native
from edge_wsd._native import CancelFlag
from edge_wsd.llama import library


@dataclass(frozen=True, slots=True)
class Beginning:
    """Where a text goes on: the token that is read next, which was chosen with this log-probability."""

    token: int
    logprob: float
    position: int
    sequence: int
    stops: Collection[int]


class NativeSteps:
    """Steps in one context, by llama.cpp's pointers to it and to its vocabulary. Used under the lock of the context."""

    def __init__(self, context: int, vocabulary: int, n_vocab: int) -> None:
        self._decoder = (
            library.address_of("llama_decode"),
            library.address_of("llama_get_logits"),
            library.address_of("llama_vocab_is_eog"),
            context,
            vocabulary,
            n_vocab,
        )

    def take(
        self, texts: list[Beginning], most: int, stop_below: float, enough: CancelFlag
    ) -> tuple[list[tuple[list[int], list[float]]], int]:
        """Up to `most` steps of all texts together, until one has come to its end or `enough` is set.

        Returns for each step the token and its log-probability for each text; and the code of the decode that failed,
        or 0. Raises `LogitsError`.
        """
        return _native.go_on(
            self._decoder,
            [(one.token, one.logprob, one.position, one.sequence) for one in texts],
            most,
            [list(one.stops) for one in texts],
            math.log(stop_below) if stop_below > 0 else -math.inf,
            enough,
        )
