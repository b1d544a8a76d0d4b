"""The likeliest tokens of a row, against a sort by numpy, with every implementation that this machine runs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edge_wsd import _native
from edge_wsd.errors import LogitsError
from tests.unit.test_native import Floats, oracle


@pytest.fixture(params=_native.available_isas())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    before = _native.isa()
    _native.force_isa(request.param)
    yield request.param
    _native.force_isa(before)


def likeliest(row: Floats, n: int) -> list[tuple[int, float]]:
    return _native.likeliest(row.ctypes.data, 1, row.size, n)[0]


def assert_agrees(row: Floats, n: int) -> None:
    expected = oracle(row)
    order = [token for token in np.argsort(-row, kind="stable").tolist() if row[token] > -np.inf][:n]
    found = likeliest(row, n)
    assert [token for token, _ in found] == order
    assert [logprob for _, logprob in found] == pytest.approx(expected[order].tolist(), rel=1e-14, abs=1e-5)


@pytest.mark.parametrize("size", [1, 2, 19, 511, 512, 513, 1025, 32_000, 128_256])
@pytest.mark.parametrize("n", [1, 5, 20])
def test_they_are_those_that_a_sort_puts_first(isa: str, size: int, n: int) -> None:
    rng = np.random.default_rng(size + n)
    assert_agrees(rng.normal(0, 4, size).astype(np.float32), n)
    assert_agrees(np.sort(rng.normal(0, 4, size).astype(np.float32)), n)


@given(
    hnp.arrays(np.float32, st.integers(1, 1100), elements=st.sampled_from([-np.inf, -3.0, 0.0, 0.5, 2.0, 1e30])),
    st.integers(0, 20),
)
def test_of_equal_logits_the_lower_ids_come_first(row: Floats, n: int) -> None:
    if np.isfinite(row).any():
        assert_agrees(row, n)


def test_tokens_without_a_probability_are_left_out(isa: str) -> None:
    row = np.full(1000, -np.inf, np.float32)
    row[[700, 3]] = 1.0, 2.0
    assert [token for token, _ in likeliest(row, 20)] == [3, 700]
    row[[5, 900]] = np.inf
    assert likeliest(row, 20) == [(5, pytest.approx(np.log(0.5))), (900, pytest.approx(np.log(0.5)))]


def test_rows_of_a_matrix_are_looked_at_one_by_one(isa: str) -> None:
    matrix = np.random.default_rng(1).normal(0, 4, (7, 700)).astype(np.float32)
    assert _native.likeliest(matrix.ctypes.data, 7, 700, 3) == [likeliest(row, 3) for row in matrix]
    assert _native.likeliest(0, 0, 700, 3) == []


def test_what_is_no_row_of_logits_is_refused(isa: str) -> None:
    row = np.zeros(10, np.float32)
    for address, n_rows, n_vocab, n in ((0, 1, 10, 1), (row.ctypes.data, -1, 10, 1), (row.ctypes.data, 1, 10, -1)):
        with pytest.raises(ValueError, match=r"address|n_rows|n is"):
            _native.likeliest(address, n_rows, n_vocab, n)
    for wrong in (np.nan, -np.inf):
        with pytest.raises(LogitsError):
            likeliest(np.full(600, wrong, np.float32), 2)
