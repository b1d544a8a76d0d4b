"""How much is done and how fast, in words."""

from __future__ import annotations

BYTES = "bytes"
"""The unit of work on files; other work counts things."""
_MOST_READ = 100_000
"""A larger number of things is told as a share of all."""


def amount_in_words(n_done: float, total: float | None, *, between: str = "/") -> str:
    """`3/10`, or `3%` where the numbers are too large to be read; only what is done where no total is known."""
    if total is None:
        return f"{n_done:.0f}" if n_done else ""
    return f"{n_done:.0f}{between}{total:.0f}" if total <= _MOST_READ else f"{100 * n_done / total:.0f}%"


def rate_in_words(per_second: float | None) -> str:
    """`12.5/s`, `3.1/min`; empty if it is not known."""
    if not per_second:
        return ""
    return f"{per_second:.1f}/s" if per_second >= 1 else f"{60 * per_second:.1f}/min"
