"""llama.cpp's own kernels over the models that try them, and what loading makes of a verdict."""

from __future__ import annotations

import logging
import re
from dataclasses import replace

import numpy as np
import pytest

from edge_wsd.llama import kernels, library
from edge_wsd.llama.context import Context
from edge_wsd.llama.kernels import TOLERANCE, KernelVerdict
from edge_wsd.llama.model import Model
from edge_wsd.llama.repacking import extra_buffer_names, repacked_types, repackings
from edge_wsd.llama.settings import ModelSettings
from edge_wsd.llama.tools.kernel_child import BATCHES
from edge_wsd.llama.tools.kernel_model import N_VOCAB, TYPES, KernelModel, relative_error
from edge_wsd.models.gguf.shape import shape_of_file
from edge_wsd.models.plan.memory import placed_memory
from edge_wsd.models.plan.placement import place

PLAIN = ModelSettings(gpu_layers=0, threads=2, batch=max(BATCHES), extra_buffers="off")
HERE = replace(PLAIN, extra_buffers="auto")
TOKENS = np.random.default_rng(0).integers(0, N_VOCAB, sum(BATCHES))


def computed(path, settings):
    """llama.cpp's logits, in the batches of the test."""
    rows, start = [], 0
    with Model.load(path, settings, host_only=True) as model, Context(model, settings) as context:
        sequence = context.sequence()
        for n_tokens in BATCHES:
            rows.append(sequence.logits(TOKENS[start : start + n_tokens].tolist()).copy())
            start += n_tokens
    return np.concatenate(rows)


@pytest.mark.parametrize("type_name", TYPES)
@pytest.mark.parametrize("settings", [PLAIN, HERE], ids=["plain", "this machine's"])
def test_kernels_compute_what_numpy_does(type_name, settings, tmp_path):
    model = KernelModel(type_name)
    model.write(tmp_path / "model.gguf")
    assert relative_error(computed(tmp_path / "model.gguf", settings), model.logits(TOKENS)) < TOLERANCE / 2


@pytest.mark.parametrize("type_name", ["F16", "Q8_0", "Q4_K"])
def test_one_wrong_block_of_each_row_is_noticed(type_name, tmp_path):
    """A kernel may be wrong in a part of each row only, and so may all kernels at once."""
    model = KernelModel(type_name)
    for stored in model.stored.values():
        stored[..., : stored.shape[-1] // 8] = 0
    model.write(tmp_path / "model.gguf")
    assert relative_error(computed(tmp_path / "model.gguf", PLAIN), model.logits(TOKENS)) > TOLERANCE


def test_no_number_is_no_small_error():
    rows = np.ones((2, 3), np.float32)
    assert not relative_error(np.full_like(rows, np.nan), rows) <= TOLERANCE


def test_a_verdict_is_found_on_this_machine():
    """Whatever the compiler made of the kernels, the tests go on with those that hold."""
    assert kernels.examine().extra_buffers is kernels.verdict().extra_buffers


def buffers_of(path, settings, caplog):
    """Bytes of the model by the type of their buffer, as llama.cpp tells them."""
    caplog.clear()
    with caplog.at_level(logging.INFO, library.logger.name), Model.load(path, settings, host_only=True):
        pass
    found = re.findall(r"(\S+) model buffer size = +([0-9.]+) MiB", caplog.text)
    return {name: float(size) * 2**20 for name, size in found}


@pytest.fixture
def rearranged(tmp_path):
    """A model with weights that this machine rearranges when it may."""
    types = [name for name in TYPES if name in repackings()]
    if not types:
        pytest.skip("llama.cpp rearranges nothing for this processor")
    KernelModel(types[-1]).write(tmp_path / "model.gguf")
    return tmp_path / "model.gguf"


def test_the_setting_decides_what_is_rearranged(rearranged, caplog):
    extra = set(extra_buffer_names())
    assert not extra & set(buffers_of(rearranged, PLAIN, caplog))
    assert extra & set(buffers_of(rearranged, replace(PLAIN, extra_buffers="on"), caplog))


def test_what_does_not_hold_is_left_out_of_every_load(rearranged, caplog, monkeypatch):
    monkeypatch.setattr(kernels, "verdict", lambda: KernelVerdict(False, "they end the process"))
    assert not set(extra_buffer_names()) & set(buffers_of(rearranged, HERE, caplog))
    assert repackings() and not repacked_types(HERE)


@pytest.mark.parametrize("type_name", TYPES)
def test_the_plan_knows_what_is_rearranged(type_name, tmp_path, caplog):
    """Without extra buffers all is mapped; with them, what llama.cpp rearranges is counted by its own size."""
    KernelModel(type_name).write(tmp_path / "model.gguf")
    shape = shape_of_file(tmp_path / "model.gguf")
    for settings in (PLAIN, replace(PLAIN, extra_buffers="on")):
        everywhere = place(shape.n_layers, 0, [])
        planned = placed_memory(shape, settings, everywhere, repacked=repacked_types(settings)).host
        buffers = buffers_of(tmp_path / "model.gguf", settings, caplog)
        extra = sum(size for name, size in buffers.items() if name in extra_buffer_names())
        assert planned.weights - planned.mapped == pytest.approx(extra, abs=2**20 * 0.02)
