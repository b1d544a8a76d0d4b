"""The threads that passes run with: all of them, and fewer while other programs keep the cores."""

import time

import llama_cpp
import pytest

from edge_wsd import ModelSettings
from edge_wsd.llama import pass_threads
from edge_wsd.llama.context import Context
from edge_wsd.llama.model import Model
from tests.tiny_models import TinyModel

CHOSEN, SLEPT = 2, 1


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return TinyModel(n_embd=128, n_heads=4, n_heads_kv=2).write(tmp_path_factory.mktemp("threads") / "model.gguf")


@pytest.fixture
def threads(monkeypatch):
    """The threads of each pass on a machine where they sleep and fewer are faster."""
    used, now = [], [0.0]
    decode = llama_cpp.llama_decode

    def count(handle, batch):
        used.append(llama_cpp.llama_n_threads(handle))
        assert used[-1] == llama_cpp.llama_n_threads_batch(handle)
        return decode(handle, batch)

    def clock():
        now[0] += 1.0 if used[-1:] == [SLEPT] else 10.0
        return now[0]

    monkeypatch.setattr(pass_threads, "default_threads", lambda size: CHOSEN)
    monkeypatch.setattr(llama_cpp, "llama_decode", count)
    monkeypatch.setattr(time, "perf_counter", clock)
    monkeypatch.setattr(time, "process_time", lambda: 0.0)
    return used


def passes(path, settings, n_tokens, n_passes=24):
    with Model.load(path, settings) as model, Context(model, settings) as context:
        text = context.sequence()
        for index in range(n_passes):
            text.extend([5 + index % 7] * n_tokens)
            text.cut(0)


# Two threads of a small model wrote 28 tokens/s beside a busy program where one wrote 56.
def test_passes_of_few_tokens_give_way(path, threads):
    passes(path, ModelSettings(gpu_layers=0), 1)
    assert threads == [CHOSEN] * 8 + [SLEPT] * 16


def test_a_piece_of_a_prompt_always_has_all_threads(path, threads):
    passes(path, ModelSettings(gpu_layers=0), 1)
    threads.clear()
    passes(path, ModelSettings(gpu_layers=0), 40)
    assert set(threads) == {CHOSEN}


# With flash attention the number of threads changes what a sum is rounded to, and so could change an answer.
@pytest.mark.parametrize("settings", [{"threads": CHOSEN}, {"flash_attention": "on"}, {"kv_type": "q8_0"}])
def test_a_number_that_was_asked_for_or_that_shows_in_the_answer_stays(path, threads, settings):
    passes(path, ModelSettings(gpu_layers=0, **settings), 1)
    assert set(threads) == {CHOSEN}
