"""How tokens are read in passes, and passes of which a model's numbers depend on the text alone.

llama.cpp takes other kernels for one token than for several, and others again for a number that is no multiple of four
or where fewer logits are wanted. They round differently, in the logits and in what is kept in memory of a token. So
without further care a token's numbers depend on what was read together with it: on the length of a proposal, on where
a prompt begins that is partly in memory.

With blocks, every computation is over one block: `BLOCK` tokens that begin at a multiple of `BLOCK`. The last one is
filled up behind the text, and one that was begun is read again whole. A token then always stands at the same place of
a computation of the same shape, behind the same tokens, and what is beside it changes nothing in its row.

>>> passes(n_held=6, n_new=3, n_rows=2, block=4, most=512)
[Span(start=4, end=12, n_rows=8)]
"""

from __future__ import annotations

from dataclasses import dataclass

BLOCK = 4
"""What kernels for several tokens at once handle together; one block costs little more than one token."""


@dataclass(frozen=True, slots=True)
class Span:
    """Tokens from position `start` up to `end`, which may lie behind the text; logits are made of the last `n_rows`."""

    start: int
    end: int
    n_rows: int


def passes(n_held: int, n_new: int, n_rows: int, *, block: int, most: int) -> list[Span]:
    """How `n_new` tokens behind `n_held` are read, with logits of at least the last `n_rows`; at least one each.

    `most` is the longest pass, a multiple of `block`. The rows lie in the last pass, so at most `most_rows` may be
    asked for.
    """
    start, length = n_held // block * block, n_held + n_new
    end = -(-length // block) * block
    # The first pass takes the remainder, so the last one is full: the rows are never split over two.
    ends = range(start + (end - start - 1) % most + 1, end + 1, most)
    starts = [start, *ends[:-1]]
    rows_from = (length - n_rows) // block * block
    return [Span(a, b, end - rows_from if b == end else 0) for a, b in zip(starts, ends, strict=True)]


def most_rows(*, block: int, most: int) -> int:
    """The most rows that `passes` can lend, wherever in a block they begin."""
    return most - (block - 1)
