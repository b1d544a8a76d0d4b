"""What else might have stood at a position: the likeliest tokens there, with what they stand for."""

from __future__ import annotations

from collections.abc import Iterable

from edge_wsd.decoding.events import Alternative
from edge_wsd.decoding.protocols import Vocabulary


def alternatives(vocabulary: Vocabulary, likeliest: Iterable[tuple[int, float]]) -> tuple[Alternative, ...]:
    """Tokens with their log-probabilities, as a reader wants to see them."""
    return tuple(
        Alternative(token, shown_text(vocabulary, token), vocabulary.piece(token), logprob)
        for token, logprob in likeliest
    )


def shown_text(vocabulary: Vocabulary, token: int) -> str:
    """What a token stands for, read by itself; of a control token its name."""
    piece = vocabulary.piece(token)
    return piece.decode("utf-8", errors="replace") if piece else vocabulary.text(token)


def shown_bytes(vocabulary: Vocabulary, token: int) -> bytes:
    """The same as bytes, of which only several tokens together need be whole characters."""
    return vocabulary.piece(token) or vocabulary.text(token).encode()
