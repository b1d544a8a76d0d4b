"""Drawing tokens: the distribution of llama.cpp's sampler chain, from every implementation, and its own arithmetic."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_wsd import _native
from edge_wsd.errors import LogitsError
from tests.llama_chain import Candidates, chain, filters, seeded_draw

Floats = NDArray[np.float32]
N_DRAWS = 8_000


@pytest.fixture(params=_native.available_isas())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    before = _native.isa()
    _native.force_isa(request.param)
    yield request.param
    _native.force_isa(before)


def draws(row: Floats, n: int = 1, *, seed: int = 0, **sampling: float) -> NDArray[np.int64]:
    settings = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, **sampling}
    sampler = _native.Sampler(seed=seed, **settings)  # type: ignore[arg-type]
    return np.array([sampler.choose(row.ctypes.data, row.size)[0] for _ in range(n)])


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


def assert_drawn_from(found: NDArray[np.int64], wanted: NDArray[np.float64]) -> None:
    """Pearson's test: how often each token came, against its probability. Rare ones count together."""
    assert not found[wanted == 0].any()
    n = found.sum()
    often = n * wanted >= 5
    counts = np.append(found[often], n - found[often].sum())
    means = np.append(n * wanted[often], n * (1 - wanted[often].sum()))
    counts, means = counts[means > 0.5], means[means > 0.5]
    freedom = max(len(means) - 1, 1)
    assert ((counts - means) ** 2 / means).sum() <= freedom + 5 * np.sqrt(2 * freedom)


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
    found = np.bincount(draws(row, N_DRAWS if size < 1000 else 1500, **sampling), minlength=size)
    assert_drawn_from(found, expected(row, **sampling))


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
@pytest.mark.parametrize("spread", [0.2, 2.0, 5.0])
def test_the_distribution_is_that_of_llama_cpps_chain(sampling: dict[str, float], spread: float) -> None:
    """Both against the chain's own probabilities; and of a flat row every token that the chain keeps comes."""
    size = 300
    row = np.random.default_rng(7).normal(0, spread, size).astype(np.float32)
    with chain(*filters(**sampling)) as kept:
        wanted = Candidates(row).after(kept).probabilities
    ours = np.bincount(draws(row, N_DRAWS, **sampling), minlength=size)
    with chain(*filters(**sampling), seeded_draw(1)) as whole:
        theirs = np.bincount([Candidates(row).after(whole).selected for _ in range(N_DRAWS // 10)], minlength=size)
    assert_drawn_from(ours, wanted)
    assert_drawn_from(theirs, wanted)
    if spread < 1:
        assert np.array_equal(ours > 0, wanted > 0)


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
def test_the_same_tokens_are_kept_of_a_whole_vocabulary(sampling: dict[str, float]) -> None:
    """At a high temperature even the least probable token that is kept comes at once."""
    size = 2000
    row = np.random.default_rng(3).normal(0, 2, size).astype(np.float32)
    row[::7] -= 8
    hot = {**sampling, "temperature": 1e30}
    kept = expected(row, **hot) > 0
    n = min(int(kept.sum()) * 10, 20_000)
    found = np.bincount(draws(row, n, **hot), minlength=size)
    assert not found[~kept].any()
    assert (found > 0).sum() >= 0.995 * kept.sum()
    assert found[np.flatnonzero(kept)[np.argsort(row[kept])[:20]]].any()


@pytest.mark.parametrize("sampling", [{"top_k": 700}, {"top_p": 0.35}], ids=str)
def test_of_equal_tokens_the_first_are_kept_and_drawn_alike(isa: str, sampling: dict[str, float]) -> None:
    """Those with the last one's logit in later blocks once took a share, which the first token of all then got."""
    row = np.zeros(2000, np.float32)
    found = np.bincount(draws(row, N_DRAWS, **sampling), minlength=2000)
    assert_drawn_from(found, np.where(np.arange(2000) < 700, 1 / 700, 0))


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
def test_the_probability_told_is_the_models_own(sampling: dict[str, float]) -> None:
    """At temperature 1, whatever was filtered: as a pass over the row tells it."""
    row = np.random.default_rng(4).normal(0, 3, 3000).astype(np.float32)
    sampler = _native.Sampler(seed=0, **{"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, **sampling})  # type: ignore[arg-type]
    for _ in range(50):
        token, logprob = sampler.choose(row.ctypes.data, row.size)
        assert logprob == _native.score_row(row.ctypes.data, row.size, token)[0]


def test_temperature_0_takes_the_first_of_the_best(isa: str) -> None:
    row = np.random.default_rng(5).normal(0, 3, 3000).astype(np.float32)
    row[[1200, 2000]] = 50.0
    assert set(draws(row, 20, temperature=0.0, top_k=5, top_p=0.5).tolist()) == {1200}


def test_one_seed_is_one_series_of_tokens(isa: str) -> None:
    row = np.random.default_rng(1).normal(0, 2, 1000).astype(np.float32)
    assert np.array_equal(draws(row, 200, seed=5), draws(row, 200, seed=5))
    assert not np.array_equal(draws(row, 200, seed=5), draws(row, 200, seed=6))


def test_neighbouring_seeds_and_those_of_the_two_models_draw_independently() -> None:
    row = np.zeros(1000, np.float32)
    series = [draws(row, 2000, seed=seed) / 1000 for seed in (0, 1, 2, 0x9E3779B9, 0x9E3779BA)]
    for i, one in enumerate(series):
        for other in series[i + 1 :]:
            assert abs(np.corrcoef(one, other)[0, 1]) < 0.1
            assert abs(np.corrcoef(one[1:], other[:-1])[0, 1]) < 0.1
        assert abs(np.corrcoef(one[1:], one[:-1])[0, 1]) < 0.1


def test_every_choice_takes_one_number_from_the_series() -> None:
    """So a series goes on alike, whatever was drawn before: also from a row of one token, and from an infinite one."""
    flat = np.zeros(2000, np.float32)
    rest = []
    for first in (np.random.default_rng(2).normal(0, 2, 2000), [1.0], [0.0, np.inf], np.zeros(70_000)):
        sampler = _native.Sampler(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, seed=3)
        row = np.array(first, np.float32)
        sampler.choose(row.ctypes.data, row.size)
        rest.append([sampler.choose(flat.ctypes.data, flat.size)[0] for _ in range(50)])
    assert rest[1:] == rest[:-1]
    assert len(set(rest[0])) > 40


def test_a_little_rounding_moves_few_draws() -> None:
    """Rows of one text differ in their last bits from batch to batch; in the order of logits draws would jump."""
    row = np.random.default_rng(8).normal(0, 1, 4000).astype(np.float32)
    noisy = (row + np.random.default_rng(9).normal(0, 1e-6, 4000)).astype(np.float32)
    for sampling in ({"top_k": 400}, {"top_p": 0.9}, {"min_p": 0.05}, {}):
        assert (draws(row, 500, **sampling) != draws(noisy, 500, **sampling)).sum() <= 5


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
def test_equal_tokens_and_forbidden_ones(sampling: dict[str, float]) -> None:
    row = np.full(1500, -np.inf, np.float32)
    row[[3, 700, 1499]] = 2.5
    found = set(draws(row, 300, **sampling).tolist())
    assert found <= {3, 700, 1499}
    if sampling.get("top_k", 3) >= 3 and sampling.get("top_p", 1) > 0.7:
        assert found == {3, 700, 1499}


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
def test_an_infinite_logit_takes_everything(sampling: dict[str, float]) -> None:
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


@pytest.mark.parametrize("temperature", [-1.0, float("nan")])
def test_what_is_no_temperature_is_refused(temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature is"):
        _native.Sampler(temperature=temperature, top_k=0, top_p=1.0, min_p=0.0, seed=0)
