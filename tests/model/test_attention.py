"""How attention is computed: chosen by device and cache, done by llama.cpp, and told to the plan."""

import logging
from itertools import product

import numpy as np
import pytest

from edge_wsd import ModelSettings
from edge_wsd.errors import ModelLoadError
from edge_wsd.llama.attention import Attention
from edge_wsd.llama.context import Context
from edge_wsd.llama.model import Model
from edge_wsd.models.plan.memory import model_memory
from tests.tiny_models import TinyModel, boolean

TOKENS = [3 + (7 * i) % 240 for i in range(700)]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    model = TinyModel(n_embd=256, n_heads=4, n_heads_kv=2, n_ff=256, n_ctx=1024)
    return model.write(tmp_path_factory.mktemp("attention") / "model.gguf")


# With flash attention on the processor decoding behind 2,500 tokens took two to three times as long.
@pytest.mark.parametrize(
    "settings, on_gpu, expected",
    [
        ({}, False, ("off", 128)),
        ({"kv_type": "f32"}, False, ("off", 128)),
        ({"kv_type": "bf16"}, False, ("off", 128)),
        ({"kv_type": "q8_0"}, False, ("on", 512)),
        ({"kv_type": "q4_1"}, False, ("on", 512)),
        ({"batch": 64}, False, ("off", 64)),
        ({"flash_attention": "on"}, False, ("on", 512)),
        ({"flash_attention": "off"}, False, ("off", 128)),
        ({"flash_attention": "off", "kv_type": "q8_0"}, False, ("off", 128)),
        ({"exact": True}, False, ("off", 4)),
        ({"exact": True, "kv_type": "q8_0"}, False, ("on", 4)),
        ({"exact": True}, True, ("auto", 4)),
        ({}, True, ("auto", 512)),
        ({"kv_type": "q8_0"}, True, ("auto", 512)),
        ({"flash_attention": "off"}, True, ("off", 512)),
        ({"flash_attention": "on", "batch": 300}, True, ("on", 300)),
    ],
)
def test_flash_attention_is_for_gpus_and_for_caches_that_need_it(settings, on_gpu, expected):
    attention = Attention.of(ModelSettings(**settings), on_gpu=on_gpu)
    assert (attention.flash, attention.micro_batch) == expected


@pytest.mark.parametrize(
    "settings, flash", [({}, "disabled"), ({"kv_type": "q8_0"}, "enabled"), ({"exact": True}, "disabled")]
)
def test_llama_cpp_computes_as_was_chosen_and_the_plan_knows_it(path, caplog, settings, flash):
    settings = ModelSettings(gpu_layers=0, context_length=1024, **settings)
    with caplog.at_level(logging.INFO, "edge_wsd.llama"), Model.load(path, settings, host_only=True) as model:
        assert not model.on_gpu
        with Context(model, settings) as context:
            context.sequence().extend(TOKENS)
    lines = [record.getMessage() for record in caplog.records]
    assert any("flash_attn" in line and line.endswith(flash) for line in lines)
    told = next(line for line in lines if "CPU compute buffer size" in line)
    planned = model_memory(path, settings).host.compute
    assert planned / 2**20 == pytest.approx(float(told.split("=")[1].split()[0]), rel=0.1, abs=1)


def test_a_cache_of_fewer_bits_without_flash_attention_is_refused_with_the_reason(path):
    settings = ModelSettings(gpu_layers=0, kv_type="q4_0", flash_attention="off")
    with Model.load(path, settings) as model, pytest.raises(ModelLoadError, match="flash_attn"):
        Context(model, settings)


# Flash attention splits a long cache over the threads, so that one and two of them disagreed by tenths of a logit.
def test_the_numbers_do_not_depend_on_the_number_of_threads(path):
    found = {}
    for threads in (1, 2, 3):
        settings = ModelSettings(gpu_layers=0, threads=threads, context_length=1024)
        with Model.load(path, settings) as model, Context(model, settings) as context:
            text = context.sequence()
            text.extend(TOKENS[:600])
            found[threads] = np.concatenate([text.logits(TOKENS[600 : 600 + n]) for n in (1, 2, 5, 9)])
    assert np.array_equal(found[1], found[2]) and np.array_equal(found[1], found[3])


def test_a_prompt_is_the_same_to_a_model_in_batches_of_any_size(path):
    rows = []
    for batch, flash in product((32, 128, 512), ("auto", "on")):
        settings = ModelSettings(gpu_layers=0, threads=1, batch=batch, flash_attention=flash, context_length=1024)
        with Model.load(path, settings) as model, Context(model, settings) as context:
            text = context.sequence()
            text.extend(TOKENS[:650])
            rows.append(text.logits([5])[0])
    for row in rows[1:]:
        np.testing.assert_allclose(row, rows[0], atol=0.1)


# llama.cpp asserts that a batch of more than a piece is read in one direction.
def test_a_file_that_says_that_it_reads_in_both_directions_is_read_in_one(tmp_path):
    model = TinyModel(n_ctx=1024)
    model.metadata["llama.attention.causal"] = boolean(False)
    both, one = model.write(tmp_path / "both.gguf"), TinyModel(n_ctx=1024).write(tmp_path / "one.gguf")
    settings = ModelSettings(gpu_layers=0, threads=1, context_length=1024)
    found = []
    for path in (both, one):
        with Model.load(path, settings) as loaded, Context(loaded, settings) as context:
            text = context.sequence()
            text.extend(TOKENS[:600])
            found.append(text.logits([5]))
    assert np.array_equal(*found)
