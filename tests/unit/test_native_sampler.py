"""Drawing tokens: the distribution of llama.cpp's sampler chain, from every implementation, and its own arithmetic."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_wsd import _native
from edge_wsd.errors import LogitsError

Floats = NDArray[np.float32]
N_DRAWS = 20_000


@pytest.fixture(params=_native.available_isas())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    before = _native.isa()
    _native.force_isa(request.param)
    yield request.param
    _native.force_isa(before)


def draws(row: Floats, n: int = 1, *, seed: int = 0, **sampling: float) -> NDArray[np.int64]:
    settings = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, **sampling}
    sampler = _native.Sampler(seed=seed, **settings)  # type: ignore[arg-type]
    return np.array([sampler.draw(row.ctypes.data, row.size) for _ in range(n)])


def expected(row: Floats, *, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0, min_p: float = 0.0):  # type: ignore[no-untyped-def]
    """The same by sorting everything in float64: top-k, top-p, min-p, temperature."""
    exact = row.astype(np.float64)
    order = np.argsort(-exact, kind="stable")
    if top_k > 0:
        order = order[:top_k]
    weights = np.exp(exact[order] - exact[order[0]])
    reached = np.cumsum(weights / weights.sum()) >= top_p - 1e-12
    order = order[: int(np.argmax(reached)) + 1 if reached.any() else len(order)]
    order = order[exact[order] >= exact[order[0]] + np.log(max(min_p, 1e-300))]
    weights = np.exp((exact[order] - exact[order[0]]) / temperature)
    found = np.zeros(len(row))
    found[order] = weights / weights.sum()
    return found


SAMPLINGS = [
    {},
    {"temperature": 0.3},
    {"temperature": 5.0},
    {"top_k": 5},
    {"top_k": 1},
    {"top_p": 0.5},
    {"top_p": 0.95},
    {"top_p": 0.0},
    {"min_p": 0.05},
    {"top_k": 40, "top_p": 0.9, "min_p": 0.02, "temperature": 0.8},
    {"top_k": 3, "top_p": 0.999},
    {"top_p": 0.7, "temperature": 2.0},
]


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
@pytest.mark.parametrize("size", [7, 600, 32_000])
def test_tokens_are_drawn_as_often_as_they_are_probable(isa: str, size: int, sampling: dict[str, float]) -> None:
    row = (np.random.default_rng(size).normal(0, 3, size)).astype(np.float32)
    wanted = expected(row, **sampling)
    found = np.bincount(draws(row, N_DRAWS if size < 1000 else 3000, **sampling), minlength=size)
    assert not found[wanted == 0].any()
    n = found.sum()
    # The likeliest by themselves, all others together: each within five standard deviations.
    best = np.argsort(-wanted)[:20]
    for share, count in [*zip(wanted[best], found[best], strict=True), (1 - wanted[best].sum(), n - found[best].sum())]:
        assert abs(count - n * share) <= 5 * np.sqrt(n * max(share, 1e-9) * max(1 - share, 1e-9)) + 1


def test_one_seed_is_one_series_of_tokens(isa: str) -> None:
    row = np.random.default_rng(1).normal(0, 2, 1000).astype(np.float32)
    assert np.array_equal(draws(row, 200, seed=5), draws(row, 200, seed=5))
    assert not np.array_equal(draws(row, 200, seed=5), draws(row, 200, seed=6))


def test_every_way_to_draw_takes_one_number_from_the_series() -> None:
    """So a series goes on alike, whatever was drawn before."""
    row = np.random.default_rng(2).normal(0, 2, 2000).astype(np.float32)
    flat = np.zeros(2000, np.float32)
    samplers = [_native.Sampler(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, seed=3) for _ in range(2)]
    samplers[0].draw(row.ctypes.data, row.size)
    samplers[1].draw(flat.ctypes.data, flat.size)
    rest = [[each.draw(flat.ctypes.data, flat.size) for _ in range(50)] for each in samplers]
    assert rest[0] == rest[1]


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
def test_equal_tokens_and_forbidden_ones(isa: str, sampling: dict[str, float]) -> None:
    row = np.full(1500, -np.inf, np.float32)
    row[[3, 700, 1499]] = 2.5
    found = set(draws(row, 300, **sampling).tolist())
    assert found <= {3, 700, 1499}
    if sampling.get("top_k", 3) >= 3 and sampling.get("top_p", 1) > 0.7:
        assert found == {3, 700, 1499}


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
def test_an_infinite_logit_takes_everything(isa: str, sampling: dict[str, float]) -> None:
    row = np.zeros(900, np.float32)
    row[[5, 800]] = np.inf
    assert set(draws(row, 100, **sampling).tolist()) <= {5, 800}


@pytest.mark.parametrize("temperature", [1e-45, 1e-30, 1e-6, 1e30])
def test_any_temperature_is_drawn_at(isa: str, temperature: float) -> None:
    row = np.array([1.0, 3.0, 2.0] * 400, np.float32)
    row[700] = 3.5
    found = set(draws(row, 200, temperature=temperature).tolist())
    assert found == {700} if temperature < 1 else len(found) > 50


@pytest.mark.parametrize("row", [[np.nan, 1.0], [-np.inf, -np.inf]])
def test_what_is_no_distribution_is_refused(isa: str, row: list[float]) -> None:
    with pytest.raises(LogitsError):
        draws(np.array(row, np.float32))


def test_no_temperature_is_refused() -> None:
    with pytest.raises(ValueError, match="temperature is 0"):
        _native.Sampler(temperature=0.0, top_k=0, top_p=1.0, min_p=0.0, seed=0)
