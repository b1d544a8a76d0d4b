"""Numbers within bounds, as GBNF: every text that is allowed lies within them.

>>> whole_numbers(-3, 12)
'"-" [1-3] | [0-9] | "1" [0-2]'
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction

_N_DIGITS = 16
"""Digits of an unbounded number before the point, and after it: a double holds no more."""
_FINER = 2
"""How many more decimals a number may have near a bound that it must not reach."""

WHOLE = f'"-"? ("0" | [1-9] [0-9]{{0,{_N_DIGITS - 1}}})'
NUMBER = f'{WHOLE} ("." [0-9]{{1,{_N_DIGITS}}})? ([eE] [-+]? [0-9]{{1,2}})?'

_POINT = '"." '

Digits = list[tuple[int, int]]
"""The first and last digit allowed at each place."""


def whole_numbers(low: int | None, high: int | None) -> str | None:
    """The whole numbers from `low` to `high`; None if there are none."""
    if low is None and high is None:
        return WHOLE
    alternatives = [_written(digits, sign) for sign, digits in _signed(*_bounded(low, high, 0), 1)]
    return " | ".join(alternatives) or None


def numbers(low: Decimal | None, high: Decimal | None, *, above: bool, below: bool) -> str | None:
    """The numbers from `low` to `high`; `above` and `below` exclude the bound itself."""
    if low is None and high is None:
        return NUMBER
    given = [bound for bound in (low, high) if bound is not None]
    finest = min(max(_decimals(bound) for bound in given) + (_FINER if above or below else 0), _N_DIGITS)
    alternatives: list[str] = []
    for n_decimals in range(finest + 1):
        first = None if low is None else first_whole(low, n_decimals, above=above)
        last = None if high is None else -first_whole(high.copy_negate(), n_decimals, above=below)
        first, last = _bounded(first, last, n_decimals)
        size = n_decimals + 1
        alternatives += (_written(digits, sign, n_decimals) for sign, digits in _signed(first, last, size))
        if n_decimals == finest:  # more decimals lead away from zero
            more = f"{'' if n_decimals else _POINT}[0-9]{{1,{_N_DIGITS}}}"
            alternatives += (
                f"{_written(digits, sign, n_decimals)} {more}"
                for sign, digits in _signed(first, last, size, inside=True)
            )
    return " | ".join(dict.fromkeys(alternatives)) or None


def _decimals(bound: Decimal) -> int:
    exponent = bound.normalize().as_tuple().exponent
    assert isinstance(exponent, int)
    return max(0, -exponent)


def first_whole(low: Decimal, n_decimals: int = 0, *, above: bool = False) -> int:
    """The smallest number from `low` on, in units of the last decimal; `above` excludes the bound itself."""
    exact = Fraction(low) * 10**n_decimals
    first: int = math.ceil(exact)
    return first + 1 if above and first == exact else first


def _bounded(low: int | None, high: int | None, n_decimals: int) -> tuple[int, int]:
    """The bounds; an open or distant one is replaced by the point beyond which doubles are not exact."""
    most = 10 ** (_N_DIGITS + n_decimals) - 1
    if low is None or low < -most:
        low = -most if high is None else min(-most, high)
    if high is None or high > most:
        high = max(most, low)
    return low, high


def _signed(low: int, high: int, n_digits: int, *, inside: bool = False) -> Iterator[tuple[str, Digits]]:
    """Signs and digits, at least `n_digits`, of the numbers from `low` to `high`.

    `inside`: only of the numbers that stay between `low` and `high` whatever decimals follow.
    """
    if low < 0 and max(-high, 1) <= -low - inside:
        yield from (('"-" ', digits) for digits in _ranges(max(-high, 1), -low - inside, n_digits))
    if inside and low < 0 <= high:  # -0.5
        yield from (('"-" ', digits) for digits in _ranges(0, 0, n_digits))
    if high - inside >= max(low, 0):
        yield from (("", digits) for digits in _ranges(max(low, 0), high - inside, n_digits))


def _ranges(low: int, high: int, n_digits: int) -> Iterator[Digits]:
    """The numbers from `low` to `high`, none of them negative, grouped by length."""
    start = low
    while start <= high:
        size = max(len(str(start)), n_digits)
        end = min(high, 10**size - 1)
        yield from _of_one_length(f"{start:0{size}d}", f"{end:0{size}d}")
        start = end + 1


def _of_one_length(low: str, high: str) -> Iterator[Digits]:
    if not low:
        yield []
        return
    first, last, rest = int(low[0]), int(high[0]), len(low) - 1
    nines, zeros = "9" * rest, "0" * rest
    if first == last:
        yield from ([(first, first), *digits] for digits in _of_one_length(low[1:], high[1:]))
        return
    if low[1:] != zeros:
        yield from ([(first, first), *digits] for digits in _of_one_length(low[1:], nines))
        first += 1
    until = last if high[1:] == nines else last - 1
    if first <= until:
        yield [(first, until), *[(0, 9)] * rest]
    if until < last:
        yield from ([(last, last), *digits] for digits in _of_one_length(zeros, high[1:]))


def _written(digits: Digits, sign: str, n_decimals: int = 0) -> str:
    point = len(digits) - n_decimals
    whole = _classes(digits[:point])
    return f"{sign}{whole}" if not n_decimals else f'{sign}{whole} "." {_classes(digits[point:])}'


def _classes(digits: Digits) -> str:
    parts: list[str] = []
    at = 0
    while at < len(digits):
        low, high = digits[at]
        n = 1
        while at + n < len(digits) and digits[at + n] == (low, high):
            n += 1
        each = f'"{low}"' if low == high else f"[{low}-{high}]"
        parts.append(each if n == 1 else f"{each}{{{n}}}")
        at += n
    return " ".join(parts)
