"""Whether two vocabularies are the same, so that token ids can be handed from one model to the other."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edge_wsd.llama.binding import llama_cpp
from edge_wsd.llama.vocab import CONTROL, Vocab

_NO_TEXT = CONTROL | llama_cpp.LLAMA_TOKEN_ATTR_UNUSED
_FILLER = (
    r"(?:pad|padding|unused|reserved|dummy|placeholder|extra|empty|special|madeupword)"
    r"(?:[\s_-]?(?:pad|special|token|id)s?)*[\s_-]?"
)
_PLACEHOLDER = re.compile(rf"[<\[({{]\|?{_FILLER}\d*\|?[>\])}}]|{_FILLER}\d+", re.IGNORECASE)
"""What those who fill a vocabulary up call what they fill it with."""


@dataclass(frozen=True, slots=True)
class VocabularyVerdict:
    """How two vocabularies relate. `reason` names the first difference, or says what is the same."""

    verdict: Literal["identical", "padded", "different"]
    reason: str
    notes: tuple[str, ...] = ()

    @property
    def same(self) -> bool:
        """Whether token ids can be handed over as they are."""
        return self.verdict != "different"


def compare_vocabularies(
    drafter: Vocab, base: Vocab, *, names: tuple[str, str] = ("drafter", "base")
) -> VocabularyVerdict:
    """Compare token by token: texts and attributes of every id both have, then the tails. `names` are for the reason.

    Sizes alone prove nothing. A tail of ids that stand for no text (placeholders, unused and control tokens) is
    padding and does no harm. That the two models end a text with different tokens is usual (an instruct model and its
    base) and only noted.
    """
    first, second = names
    notes = tuple(
        f"{name} differs: {first} {_named(drafter, mine)}, {second} {_named(base, other)}"
        for name, mine, other in (("BOS", drafter.bos, base.bos), ("EOS", drafter.eos, base.eos))
        if mine != other
    )
    if drafter.type != base.type:
        return VocabularyVerdict("different", f"{first}'s type is {drafter.type}, {second}'s is {base.type}", notes)
    token = _first_difference(drafter.all_texts(), base.all_texts())
    if token is not None:
        reason = f"token {token} is {drafter.text(token)!r} in the {first}, {base.text(token)!r} in the {second}"
        return VocabularyVerdict("different", reason, notes)
    common = min(drafter.n_tokens, base.n_tokens)
    differing = np.flatnonzero(drafter.all_attributes[:common] != base.all_attributes[:common])
    if differing.size:
        token = int(differing[0])
        a, b = drafter.attributes(token), base.attributes(token)
        reason = f"token {token} ({drafter.text(token)!r}) has attributes {a:#x} in the {first}, {b:#x} in the {second}"
        return VocabularyVerdict("different", reason, notes)
    return _compare_tails(drafter, base, names, notes)


def _first_difference(a: list[bytes], b: list[bytes]) -> int | None:
    """Index of the first entry that both have and that differs."""
    common = min(len(a), len(b))
    if a[:common] == b[:common]:
        return None
    return next(index for index in range(common) if a[index] != b[index])


def _compare_tails(drafter: Vocab, base: Vocab, names: tuple[str, str], notes: tuple[str, ...]) -> VocabularyVerdict:
    common = min(drafter.n_tokens, base.n_tokens)
    if drafter.n_tokens == base.n_tokens:
        return VocabularyVerdict("identical", f"all {common} tokens are the same", notes)
    name, longer = (names[0], drafter) if drafter.n_tokens > common else (names[1], base)
    told = f"the first {common} tokens are the same; the {name} has {longer.n_tokens - common} more"
    with_text = (common + np.flatnonzero(longer.all_attributes[common:] & _NO_TEXT == 0)).tolist()
    real = next((token for token in with_text if _PLACEHOLDER.fullmatch(longer.text(token)) is None), None)
    if real is not None:
        reason = f"{told}, among them the text {longer.text(real)!r} (token {real})"
        return VocabularyVerdict("different", reason, notes)
    return VocabularyVerdict("padded", f"{told}, all of them placeholders or control tokens", notes)


def _named(vocab: Vocab, token: int | None) -> str:
    return "none" if token is None else f"{vocab.text(token)} ({token})"
