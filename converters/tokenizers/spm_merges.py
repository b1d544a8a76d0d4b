"""Whether the merges of a tokenizer.json are those of a SentencePiece model, which llama.cpp follows by scores."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from edge_wsd.errors import ConversionError

_BYTE = re.compile(r"<0x[0-9A-F]{2}>")


def token_ranks(ids: Mapping[str, int], merges: Sequence[tuple[str, str]], whole: frozenset[str]) -> dict[str, int]:
    """The rank of each merged token; tokens in `whole` are found before anything is merged.

    llama.cpp joins any two neighbours that make a token, so every way to make one must be among the merges, and all
    ways of one token must rank alike against other tokens. Raises ConversionError otherwise.
    """
    made = [left + right for left, right in merges if left + right not in whole]
    last = {text: rank for rank, text in enumerate(made)}
    ranks: dict[str, int] = {}
    start, end = 0, -1
    for rank, text in enumerate(made):
        if text in ranks:
            continue
        if rank > end:
            start = rank
        ranks[text], end = start, max(end, last[text])
        between = made[rank : last[text] + 1]
        if len(set(between)) > 1:
            _require_runs(text, between)
    known = set(merges)
    for text in ids:
        if text in ranks and not _BYTE.fullmatch(text):
            _require_all_ways(text, ids, known)
    return ranks


def _require_runs(text: str, between: Sequence[str]) -> None:
    """Runs of one character may rank alike: both sides then join them from the left, the longest first."""
    if set("".join(between)) != {text[0]}:
        raise ConversionError(f"tokenizer.json: the merges that make {text!r:.80} are not next to each other")


def _require_all_ways(text: str, ids: Mapping[str, int], known: set[tuple[str, str]]) -> None:
    for cut in range(1, len(text)):
        pair = (text[:cut], text[cut:])
        if pair[0] in ids and pair[1] in ids and pair not in known:
            raise ConversionError(
                f"tokenizer.json: {text!r:.80} may not be made of {pair[0]!r:.80} and {pair[1]!r:.80}, but llama.cpp "
                "would; it is not a tokenizer made from SentencePiece"
            )


def bytes_complete(index: Mapping[str, int]) -> None:
    """Raises ConversionError where a byte has no token: llama.cpp ends the process when a text holds it."""
    for byte in range(256):
        if f"<0x{byte:02X}>" not in index and not (byte < 128 and chr(byte) in index):
            raise ConversionError(
                f"the tokenizer has no token <0x{byte:02X}> for that byte, without which llama.cpp ends the process "
                "on a character it does not know; train it with byte fallback"
            )
