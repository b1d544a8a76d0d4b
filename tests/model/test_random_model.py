"""Benchmark pairs: the base has the drafter inside, whatever its widths, and agrees as often as it is asked to."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import gguf
import pytest

from edge_wsd.llama.context import Context
from edge_wsd.llama.model import Model
from edge_wsd.llama.settings import ModelSettings
from scripts.make_bench_pair import CLOSE, choices, find_noise
from scripts.random_model import BOS, EOS, RandomModel, Shape

INNER = Shape(n_layers=2, embd=256, n_ff=512, n_heads=4, n_kv_heads=2, head_dim=64)
LARGER = {
    "deeper": replace(INNER, n_layers=4),
    "wider": replace(INNER, embd=512, n_ff=1024),
    "more heads to a key": replace(INNER, n_heads=12),
    "more keys": replace(INNER, n_heads=12, n_kv_heads=4),
    "all of it": Shape(n_layers=3, embd=768, n_ff=768, n_heads=16, n_kv_heads=4, head_dim=64),
}
SETTINGS = ModelSettings(gpu_layers=0, threads=1, kv_type="f32", context_length=64)


def logprobs(path) -> list[float]:
    with Model.load(path, SETTINGS) as model, Context(model, SETTINGS) as context:
        return list(context.sequence().score([300], [*range(301, 340)]).logprobs)


@pytest.fixture(scope="module")
def random_model():
    return RandomModel(INNER, 600, "F32", peak=8.0)


@pytest.fixture(scope="module")
def drafter(random_model, tmp_path_factory):
    path = tmp_path_factory.mktemp("pair") / "drafter.gguf"
    random_model.write(path, INNER)
    return path


@pytest.mark.parametrize("name", LARGER)
def test_a_larger_model_says_what_the_one_inside_says(name, random_model, drafter, tmp_path):
    base = tmp_path / "base.gguf"
    random_model.write(base, LARGER[name])
    assert logprobs(base) == pytest.approx(logprobs(drafter), abs=1e-3)


def test_a_model_says_something(drafter):
    """Or the equality of two would mean nothing."""
    assert len(set(choices(drafter))) > 50


def test_an_answer_does_not_end_by_itself(random_model, tmp_path):
    """Some did after three tokens, and were compared with whole ones."""
    path = tmp_path / "base.gguf"
    random_model.write(path, LARGER["wider"])
    (output,) = (tensor.data for tensor in gguf.GGUFReader(path).tensors if tensor.name == "output.weight")
    silent = [token for token, row in enumerate(output) if not row.any()]
    assert silent == [BOS, EOS]


def test_the_agreement_is_the_one_asked_for(random_model, drafter, tmp_path):
    base = tmp_path / "base.gguf"
    random_model.write(base, LARGER["all of it"])
    found = find_noise(drafter, base, INNER.n_layers, 0.6)
    assert found["noise"] > 0
    equal = [a == b for a, b in zip(choices(base), choices(drafter), strict=True)]
    assert sum(equal) / len(equal) == pytest.approx(found["agreement"]) == pytest.approx(0.6, abs=CLOSE)
    assert find_noise(drafter, base, INNER.n_layers, 1.0) == {"noise": 0.0, "agreement": 1.0}


def test_writing_takes_the_memory_of_a_layer_and_not_of_all(tmp_path):
    """All tensors used to be in memory until the last was made."""

    def peak_bytes(n_layers: int) -> int:
        model = RandomModel(INNER, 600, "F32", peak=8.0)
        tracemalloc.start()
        model.write(tmp_path / "model.gguf", Shape(n_layers, 512, 1024, 8, 2, 64))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    assert peak_bytes(24) < 1.2 * peak_bytes(4)


def test_a_shape_that_cannot_have_the_other_inside_is_refused(random_model, tmp_path):
    for change in ({"n_layers": 1}, {"n_ff": 256}, {"n_heads": 2}, {"head_dim": 128}):
        with pytest.raises(ValueError, match="inside"):
            random_model.write(tmp_path / "base.gguf", replace(INNER, **change))
    assert not list(tmp_path.iterdir())
