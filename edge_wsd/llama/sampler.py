"""Chooses the tokens of a reply: by native code, from rows of logits where llama.cpp left them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_wsd import _native
from edge_wsd.errors import GrammarError, OptionError

if TYPE_CHECKING:
    from edge_wsd.llama.grammar import Grammar
    from edge_wsd.llama.vocab import Vocab


LONGEST_S = 2.0
"""Of processor time for one token under a grammar. llama.cpp follows all readings of a text at once, and their number
can double with every token."""


@dataclass(frozen=True, slots=True)
class Penalties:
    """What is taken off the logits of the last `last_n` tokens (-1: of all): llama.cpp's three penalties."""

    last_n: int
    repeat: float = 1.0
    presence: float = 0.0
    frequency: float = 0.0


class Sampler:
    """One per reply and model. Biases, penalties, top-k, top-p, min-p and temperature, in this order, as in llama.cpp.

    The n-th choice takes the n-th random number of the seed and no other, so a text does not depend on how replies are
    batched or how much is proposed.
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
        penalties: Penalties | None = None,
        prompt: Sequence[int] = (),
        grammar: Grammar | None = None,
    ) -> None:
        """`biases` are pairs of a token and what is added to its logit. Penalties also count the end of `prompt`.

        The sampler owns its `grammar`, and frees it.
        """
        self._grammar = grammar
        penalties = penalties or Penalties(last_n=0)
        last_n = penalties.last_n
        self._native = _native.Sampler(
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            seed=seed,
            biases=biases,
            repeat_last_n=last_n,
            repeat_penalty=penalties.repeat,
            presence_penalty=penalties.presence,
            frequency_penalty=penalties.frequency,
            grammar=None if grammar is None else grammar.for_sampler(LONGEST_S),
        )
        for token in prompt if last_n < 0 else prompt[-last_n:] if last_n else ():
            self._native.accept(token, ruled=False)

    def choose(self, address: int, n_vocab: int) -> tuple[int, float]:
        """The token chosen from the row at `address`, float32 [n_vocab], and its log-probability (temperature 1).

        Raises `LogitsError` for a row that describes no distribution, `GrammarError` where the grammar allows nothing.
        """
        if self._grammar is None:
            return self._native.choose(address, n_vocab)
        with self._within_time(self._grammar):
            return self._native.choose(address, n_vocab)

    def accept(self, token: int, *, drafted: bool = False) -> None:
        """Tells of a token that has become part of the reply: once for each, in order.

        One that another model has `drafted` is under a grammar only where that holds from the start. Raises
        `GrammarError` for a token under the grammar that it does not allow.
        """
        if self._grammar is None:
            self._native.accept(token)
            return
        with self._within_time(self._grammar):
            self._native.accept(token, self._grammar.from_start or not drafted)

    @contextmanager
    def _within_time(self, grammar: Grammar) -> Iterator[None]:
        grammar.require_open()
        start_s = time.thread_time()
        yield
        if (took_s := time.thread_time() - start_s) > LONGEST_S:
            raise GrammarError(f"the grammar is too ambiguous: one token of it took {took_s:.1f} s, and more with each")

    def close(self) -> None:
        """Free the grammar. Closing twice does nothing."""
        if self._grammar is not None:
            self._grammar.close()


def token_biases(biases: Iterable[tuple[int | str, float]], vocab: Vocab, *, ids: bool) -> list[tuple[int, float]]:
    """Biases of token ids and texts, as a `Sampler` of this vocabulary takes them. A text stands for all its tokens.

    Without `ids` those are left out: they are another vocabulary's. Raises `OptionError` for an id it does not have.
    """
    found: list[tuple[int, float]] = []
    for token, bias in biases:
        if isinstance(token, str):
            found += ((each, bias) for each in dict.fromkeys(vocab.tokenize(token, special=True)))
        elif not ids:
            continue
        elif token < vocab.n_tokens:
            found.append((token, bias))
        else:
            raise OptionError(f"logit_bias has token {token}; expected an id below {vocab.n_tokens}, or a text")
    return found
