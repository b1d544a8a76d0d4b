"""Sizes and counts for a person."""

from __future__ import annotations

_GIB, _MIB = 1 << 30, 1 << 20


def gib(n_bytes: int) -> str:
    """`4.6 GiB`; small ones in MiB."""
    return f"{n_bytes / _GIB:.1f} GiB" if n_bytes >= _GIB else f"{n_bytes / _MIB:.0f} MiB"


def number(count: int) -> str:
    """With commas between thousands."""
    return f"{count:,}"


def counted(n: int, things: str) -> str:
    """How many `things`, which are named in the plural: `2 tokens`, and `1 token`."""
    return f"{n} {things.removesuffix('s') if n == 1 else things}"
