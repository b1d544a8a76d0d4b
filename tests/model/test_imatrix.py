"""Importance matrices that are collected by running a model."""

from __future__ import annotations

import errno
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from edge_wsd import files
from edge_wsd._native import CancelFlag
from edge_wsd.converters import convert
from edge_wsd.converters.quantization.calibration import calibration_text, collect_imatrix
from edge_wsd.converters.quantization.imatrix import write_imatrix
from edge_wsd.converters.quantization.imatrix_progress import progress_path
from edge_wsd.converters.quantization.quantize import quantize
from edge_wsd.errors import Cancelled, OptionError, QuantizationError
from edge_wsd.llama.context import Context
from edge_wsd.llama.model import Model
from edge_wsd.llama.settings import ModelSettings
from edge_wsd.llama.tools.ggml_tensor import checked_operations
from edge_wsd.llama.tools.tap import Sums, Tap, _add_chosen
from tests.checkpoints import load_reference, make_checkpoint
from tests.devices import rounds_alike
from tests.tiny_models import TinyModel

gguf = pytest.importorskip("gguf")
SETTINGS = ModelSettings(threads=1, kv_type="f32", flash_attention="off")
CHUNK = 64
# Modules of transformers behind the tensors of a layer.
MODULES = {
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}  # fmt: skip


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return make_checkpoint(tmp_path_factory.mktemp("checkpoint") / "model", "llama")


@pytest.fixture(scope="module")
def model(checkpoint):
    target = checkpoint.parent / "model.gguf"
    convert(checkpoint, target, type="F32")
    return target


@pytest.fixture(scope="module")
def wide_model(tmp_path_factory):
    """Rows of 256, as K-quants need them."""
    path = tmp_path_factory.mktemp("wide") / "wide.gguf"
    return TinyModel(n_embd=256, n_ff=512, n_layers=1, scale=0.5).write(path)


def test_the_sums_are_those_of_transformers(checkpoint, model):
    torch = pytest.importorskip("torch")
    collected = collect_imatrix(model, chunk_tokens=CHUNK, max_chunks=3, settings=SETTINGS)
    reference = load_reference(checkpoint)
    sums = {}

    def remember(name):
        def hook(_module, inputs, _output):
            sums[name] = sums.get(name, 0) + inputs[0].double().pow(2).sum((0, 1)).numpy()

        return hook

    for layer, block in enumerate(reference.model.layers):
        for tensor, module in MODULES.items():
            block.get_submodule(module).register_forward_hook(remember(f"blk.{layer}.{tensor}.weight"))
    with Model.load(model, SETTINGS) as loaded, torch.no_grad():
        vocab = loaded.vocab
        tokens = vocab.tokenize(calibration_text(), bos=vocab.add_bos)
        for start in range(0, 3 * CHUNK, CHUNK):
            chunk = tokens[start : start + CHUNK]
            if vocab.add_bos:
                chunk[0] = vocab.bos
            reference(torch.tensor([chunk]))
    activations = collected.imatrix.activations
    assert activations.keys() == sums.keys() and len(sums) == 14
    for name, expected in sums.items():
        assert activations[name].counts.tolist() == [3 * CHUNK]
        np.testing.assert_allclose(activations[name].sums[0], expected, rtol=2e-3, atol=1e-5 * expected.max())
    assert collected.n_tokens == 3 * CHUNK and collected.imatrix.n_chunks == 3


def test_collecting_changes_nothing_of_the_computation(model):
    tokens = list(range(5, 5 + CHUNK))
    scores = []
    with Model.load(model, SETTINGS) as loaded:
        for tap in (None, Tap({"blk.0.attn_q.weight"})):
            with Context(loaded, SETTINGS, tap=tap) as context:
                scores.append(context.sequence().score(tokens[:1], tokens[1:]).logprobs)
    assert scores[0] == scores[1]


def test_the_output_matrix_is_measured_only_when_asked(wide_model):
    def names(**wishes):
        return set(
            collect_imatrix(wide_model, chunk_tokens=32, max_chunks=1, settings=SETTINGS, **wishes).imatrix.activations
        )

    assert names(process_output=True) - names() == {"output.weight"}


def test_a_failure_inside_the_callback_is_raised_outside(model, monkeypatch):
    monkeypatch.setattr(Tap, "_collect", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        collect_imatrix(model, chunk_tokens=CHUNK, max_chunks=1, settings=SETTINGS)


def test_a_cancel_is_heard_while_the_model_is_read(model):
    flag = CancelFlag()
    flag.set()
    with pytest.raises(Cancelled, match="the measurement was stopped"):
        collect_imatrix(model, chunk_tokens=CHUNK, settings=SETTINGS, cancel=flag)


def test_progress_counts_chunks(model):
    seen = []
    collect_imatrix(model, chunk_tokens=CHUNK, max_chunks=2, settings=SETTINGS, progress=lambda *at: seen.append(at))
    assert seen == [(0, 2), (1, 2), (2, 2)]


def test_a_text_shorter_than_a_chunk_is_told(model):
    with pytest.raises(QuantizationError, match=r"only \d+ tokens, less than one chunk of 64"):
        collect_imatrix(model, "too short", chunk_tokens=CHUNK, settings=SETTINGS)


@pytest.mark.parametrize("chunk", [15, 8193, 513])
def test_chunks_of_no_use_are_refused(model, chunk):
    with pytest.raises(OptionError, match="chunk_tokens must be"):
        collect_imatrix(model, chunk_tokens=chunk, settings=SETTINGS)


def test_each_expert_gets_the_tokens_that_were_sent_to_it():
    inputs = np.arange(24, dtype=np.float32).reshape(4, 2, 3)  # tokens, chosen experts, columns
    chosen = np.array([[0, 2], [2, 0], [0, 2], [2, 2]], np.int32)
    sums = Sums(np.zeros((3, 3)), np.zeros(3, np.int64))
    _add_chosen(sums, inputs, chosen)
    expected = np.zeros((3, 3))
    for token, place in np.ndindex(chosen.shape):
        expected[chosen[token, place]] += inputs[token, place].astype(float) ** 2
    np.testing.assert_allclose(sums.values, expected)
    assert sums.counts.tolist() == [3, 0, 5]


def test_the_layout_of_tensors_is_that_of_the_installed_library():
    operations = checked_operations()
    assert operations.mul_mat != operations.mul_mat_id


def test_an_importance_matrix_makes_a_low_bit_type_lose_less_where_it_matters(wide_model, tmp_path):
    imatrix = collect_imatrix(wide_model, chunk_tokens=128, max_chunks=4, settings=SETTINGS).imatrix
    write_imatrix(tmp_path / "imatrix.gguf", imatrix)
    quantize(wide_model, tmp_path / "without.gguf", "Q2_K")
    quantize(wide_model, tmp_path / "with.gguf", "Q2_K", imatrix=tmp_path / "imatrix.gguf")
    weights = imatrix.weights()

    def errors(name):
        found = {}
        originals = {each.name: each for each in gguf.GGUFReader(wide_model).tensors}
        for tensor in gguf.GGUFReader(tmp_path / name).tensors:
            if tensor.name in weights and tensor.tensor_type.name not in ("F32", "F16"):
                original = originals[tensor.name].data
                lost = (gguf.quants.dequantize(tensor.data, tensor.tensor_type) - original) ** 2
                found[tensor.name] = float((lost * weights[tensor.name]).sum())
        return found

    without, having = errors("without.gguf"), errors("with.gguf")
    assert len(without) >= 5 and without.keys() == having.keys()
    assert sum(having.values()) < 0.97 * sum(without.values())


class Killed(Exception):
    """As if the process ended."""


def stopped_after(n_chunks):
    def progress(done, _total):
        if done == n_chunks:
            raise Killed

    return progress


def sums_of(collected):
    return {name: found.sums.tobytes() for name, found in collected.imatrix.activations.items()}


@rounds_alike
def test_a_run_that_ended_early_goes_on_and_measures_the_same(model, tmp_path):
    """It began again from nothing: all was written at the end alone."""
    kept = tmp_path / "kept"
    wishes = {"chunk_tokens": CHUNK, "max_chunks": 4, "settings": SETTINGS}
    whole = collect_imatrix(model, **wishes)
    with pytest.raises(Killed):
        collect_imatrix(model, progress=stopped_after(1), progress_file=kept, **wishes)
    first = collect_imatrix(model, progress_file=kept, **wishes)
    assert first.n_tokens_before >= CHUNK
    assert sums_of(first) == sums_of(whole) and first.perplexity == whole.perplexity
    assert collect_imatrix(model, progress_file=kept, **wishes).n_tokens_before == 4 * CHUNK


@pytest.mark.parametrize("change", ["text", "chunk", "weights", "model", "cut", "noise", "empty"])
def test_what_was_kept_of_another_run_or_is_damaged_is_not_taken_up(change, model, tmp_path):
    kept, wishes = tmp_path / "kept", {"chunk_tokens": CHUNK, "max_chunks": 1, "settings": SETTINGS}
    collect_imatrix(model, progress_file=kept, **wishes)
    if change == "text":
        wishes["text"] = "Another text, which says other things. " * 200
    elif change == "chunk":
        wishes["chunk_tokens"] = CHUNK // 2
    elif change == "weights":
        wishes["process_output"] = True
    elif change == "model":
        model = shutil.copy(model, tmp_path / "other.gguf")
    elif change == "cut":
        kept.write_bytes(kept.read_bytes()[:-8])
    else:
        kept.write_bytes(b"\xff" * 100 if change == "noise" else b"")
    assert collect_imatrix(model, progress_file=kept, **wishes).n_tokens_before == 0


def test_a_full_disk_keeps_what_was_measured(model, tmp_path, monkeypatch):
    kept, wishes = tmp_path / "kept", {"chunk_tokens": CHUNK, "max_chunks": 2, "settings": SETTINGS}
    with pytest.raises(Killed):
        collect_imatrix(model, progress=stopped_after(1), progress_file=kept, **wishes)
    before = kept.read_bytes()

    def full(_descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", full)
        with pytest.raises(QuantizationError, match="No space left on device; what was measured before is kept"):
            collect_imatrix(model, progress_file=kept, **wishes)
    assert kept.read_bytes() == before and [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert collect_imatrix(model, progress_file=kept, **wishes).n_tokens_before == CHUNK


def test_a_disk_without_room_is_told_before_anything_is_measured(model, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=10))
    with pytest.raises(QuantizationError, match="free some space"):
        collect_imatrix(model, chunk_tokens=CHUNK, settings=SETTINGS, progress_file=tmp_path / "kept")


def test_the_kept_file_of_a_target_has_a_name_that_fits_and_follows_links(tmp_path):
    real = tmp_path / ("m" * 255)
    (tmp_path / "link").symlink_to(real)
    assert progress_path(tmp_path / "link") == progress_path(real) != progress_path(tmp_path / "other")
    assert len(progress_path(real).name) < 60
