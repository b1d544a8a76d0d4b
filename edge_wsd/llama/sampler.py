"""Chooses the tokens of a reply: by native code, from rows of logits where llama.cpp left them."""

from __future__ import annotations

from edge_wsd import _native


class Sampler:
    """One per reply and model. Top-k, top-p, min-p and temperature, in this order, as in llama.cpp's chain.

    The n-th choice takes the n-th random number of the seed and no other, so a text does not depend on how replies are
    batched or how much is proposed.
    """

    def __init__(self, *, temperature: float, top_k: int, top_p: float, min_p: float, seed: int) -> None:
        self._native = _native.Sampler(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, seed=seed)

    def choose(self, address: int, n_vocab: int) -> tuple[int, float]:
        """The token chosen from the row at `address`, float32 [n_vocab], and its log-probability (temperature 1).

        Raises `LogitsError` for a row that describes no distribution.
        """
        return self._native.choose(address, n_vocab)

    def accept(self, token: int) -> None:
        """Tells of a token that has become part of the reply: once for each, in order."""

    def close(self) -> None:
        """Free what llama.cpp holds for it. Closing twice does nothing."""
