"""Training the demonstration pair: workers that share a batch read all of it, and the learning rate ends at 0."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import pairwise
from types import ModuleType

import pytest

from scripts.options_table import ROOT

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def training() -> Iterator[ModuleType]:
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        import demo_pair.training  # type: ignore[import-not-found]

        yield demo_pair.training
    finally:
        sys.path.remove(str(ROOT / "scripts"))
        for name in [name for name in sys.modules if name.split(".")[0] == "demo_pair"]:
            del sys.modules[name]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_parts_of_a_batch_hold_every_weighted_token_once(training: ModuleType, count: int) -> None:
    ids = torch.arange(1, 36).reshape(5, 7)
    weights = torch.ones(5, 7)
    for row, length in enumerate((7, 6, 4, 3, 2)):
        weights[row, length:] = 0
    batch = training.Batch(ids, weights)
    parts = [training.Worker(index, count).part(batch) for index in range(count)]
    seen = sorted(int(token) for part in parts for token in part.ids[part.weights > 0])
    assert seen == sorted(int(token) for token in ids[weights > 0])


def test_a_batch_of_fewer_documents_than_workers_is_read_by_all(training: ModuleType) -> None:
    batch = training.Batch(torch.ones(1, 3, dtype=torch.long), torch.ones(1, 3))
    assert training.Worker(1, 2).part(batch) is batch


def test_the_learning_rate_warms_up_stays_level_and_goes_down(training: ModuleType) -> None:
    rates = [training._rate(step / 100) for step in range(101)]
    assert rates[0] < 0.05 and rates[3] == rates[50] == 1.0 and rates[100] <= 0.01
    assert all(later <= rate for rate, later in pairwise(rates[3:]))
