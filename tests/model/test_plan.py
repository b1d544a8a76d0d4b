"""The plan against llama.cpp itself: what it says it would allocate, what it allocates, and how large a type is."""

from __future__ import annotations

import ctypes
import re
import struct
from dataclasses import replace

import llama_cpp
import pytest

from edge_wsd import Pair
from edge_wsd.demo import files
from edge_wsd.errors import ModelLoadError, PlanError
from edge_wsd.llama.library import Device, install_log, logger
from edge_wsd.llama.model import Model
from edge_wsd.llama.new_context import most_texts
from edge_wsd.llama.settings import AUTO, ModelSettings
from edge_wsd.llama.tools.measure import simulate
from edge_wsd.models.gguf.file_types import QUANT_TYPES
from edge_wsd.models.gguf.header import read_header
from edge_wsd.models.gguf.shape import EMBEDDING, OUTPUT, ModelShape, shape_of_file
from edge_wsd.models.plan.known_shapes import KNOWN_MODELS, known_shape
from edge_wsd.models.plan.machine import Machine
from edge_wsd.models.plan.memory import model_memory
from edge_wsd.models.plan.planner import plan_pair
from edge_wsd.models.plan.quant_recipe import RECIPES, stored_as
from tests.devices import estimates
from tests.tiny_models import TinyModel, Value, boolean, f32, numbers, string, strings, text, u32

MIB = 1 << 20
ROUNDED = MIB // 100 + 1  # llama.cpp's log has two decimals of a MiB
CODES = {"F32": 0, "BF16": 30, "F16": 1}


def write_sparse(shape: ModelShape, path):
    """A file of this shape in which there are no weights: it takes no room on the disk, however large it is."""
    prefix, n_vocab = shape.architecture + ".", shape.n_vocab
    values: dict[str, Value] = {
        "general.architecture": string(shape.architecture),
        prefix + "context_length": u32(shape.n_ctx_train),
        prefix + "embedding_length": u32(shape.n_embd),
        prefix + "block_count": u32(shape.n_layers),
        prefix + "feed_forward_length": u32(shape.n_ff),
        prefix + "attention.head_count": u32(shape.n_heads[0]),
        prefix + "attention.head_count_kv": u32(shape.n_heads_kv[0]),
        prefix + "attention.key_length": u32(shape.key_length),
        prefix + "attention.value_length": u32(shape.value_length),
        prefix + "attention.layer_norm_rms_epsilon": f32(1e-5),
        prefix + "rope.dimension_count": u32(shape.key_length),
        prefix + "vocab_size": u32(n_vocab),
        "tokenizer.ggml.model": string("gpt2"),
        "tokenizer.ggml.pre": string("gpt-2"),
        "tokenizer.ggml.tokens": strings([f"t{index}" for index in range(n_vocab)]),
        "tokenizer.ggml.token_type": numbers(5, [1] * n_vocab),
        "tokenizer.ggml.merges": strings(["t 1"]),
        "tokenizer.ggml.bos_token_id": u32(0),
        "tokenizer.ggml.eos_token_id": u32(1),
        "tokenizer.ggml.add_bos_token": boolean(True),
    }
    if shape.sliding_window:
        values[prefix + "attention.sliding_window"] = u32(shape.sliding_window)
    header = b"GGUF" + struct.pack("<IQQ", 3, len(shape.weights), len(values))
    header += b"".join(text(key) + value.encoded() for key, value in values.items())
    offset = 0
    for weight in shape.weights:
        header += text(weight.name) + struct.pack(f"<I{len(weight.shape)}Q", len(weight.shape), *weight.shape)
        header += struct.pack("<IQ", CODES[weight.type], offset)
        offset += -(-weight.n_bytes // 32) * 32
    with path.open("wb") as file:
        file.write(header)
        file.truncate(-(-len(header) // 32) * 32 + offset)
    return path


def short(name) -> ModelShape:
    """A known model with a short vocabulary, except the first: reading tokens takes most of a test's time."""
    shape, n_vocab = known_shape(name, "BF16"), 8192
    if name == KNOWN_MODELS[0]:
        return shape
    ends = (EMBEDDING, OUTPUT)
    weights = (replace(each, shape=(shape.n_embd, n_vocab)) if each.name in ends else each for each in shape.weights)
    return replace(shape, n_vocab=n_vocab, weights=tuple(weights))


@pytest.fixture(scope="module")
def sparse(tmp_path_factory):
    """Files of the models of the built-in pairs, made once each."""
    folder, made = tmp_path_factory.mktemp("sparse"), {}

    def of(name):
        if name not in made:
            made[name] = write_sparse(short(name), folder / f"{name.replace('/', '-')}.gguf")
        return made[name]

    return of


TINY = [
    ("as it is", {}, {}),
    ("wide", {"n_embd": 128, "n_heads": 8, "n_heads_kv": 2, "n_ff": 256}, {"context_length": 1024}),
    ("deep", {"n_layers": 9}, {"context_length": 700, "batch": 64}),
    ("32-bit cache", {"n_heads_kv": 4}, {"kv_type": "f32"}),
    ("without flash attention", {"n_ff": 32}, {"flash_attention": "off", "context_length": 2048}),
    ("8-bit cache", {"n_embd": 256, "n_heads": 4, "n_heads_kv": 4}, {"kv_type": "q8_0"}),
    ("4-bit cache", {"n_embd": 256, "n_heads": 4, "n_heads_kv": 2}, {"kv_type": "q4_0", "context_length": 512}),
    ("four at once", {"n_heads_kv": 4}, {"parallel": 4, "context_length": 1000}),
    ("sixty-four at once", {"n_heads_kv": 4}, {"parallel": 64, "context_length": 256}),
    ("small passes", {}, {"batch": 8}),
    ("sixty-four at once, small passes", {}, {"parallel": 64, "context_length": 256, "batch": 64}),
    ("four at once, exact", {"n_heads_kv": 4}, {"parallel": 4, "context_length": 1000, "exact": True}),
]


@estimates
@pytest.mark.parametrize(("changes", "settings"), [case[1:] for case in TINY], ids=[case[0] for case in TINY])
def test_the_kv_cache_is_exact_and_the_compute_buffer_close(tmp_path, changes, settings):
    path = TinyModel(**changes).write(tmp_path / "model.gguf")
    settings = ModelSettings(**settings)
    told, planned = simulate(path, settings), model_memory(path, settings).host
    assert planned.kv_cache == pytest.approx(told.kv_cache, abs=ROUNDED)
    assert planned.compute == pytest.approx(told.compute["CPU"], rel=0.1, abs=MIB)


@pytest.mark.parametrize(
    ("settings", "n_rows"),
    [
        ({}, 129),
        ({"batch": 64}, 64),
        ({"batch": 8}, 16),
        ({"batch": 8, "exact": True}, 8),
        ({"parallel": 64, "batch": 64}, 128),
        ({"parallel": 3}, 387),
    ],
    ids=str,
)
def test_rows_of_logits_are_those_of_a_pass_and_at_least_one_for_each_sequence(tmp_path, settings, n_rows):
    """llama.cpp has a row for each sequence from the start, which small passes never need: they were not counted."""
    path = TinyModel().write(tmp_path / "model.gguf")
    settings = ModelSettings(context_length=1024, **settings)
    told, shape = simulate(path, settings), shape_of_file(path)
    planned = model_memory(shape, settings).host.logits
    assert planned == n_rows * shape.n_vocab * 4
    assert planned >= told.logits - ROUNDED
    with Model.load(path, settings) as model:
        n_sequences = most_texts(model, settings)
    assert told.logits == pytest.approx(n_sequences * shape.n_vocab * 4, abs=ROUNDED)


@estimates
@pytest.mark.parametrize("name", KNOWN_MODELS)
def test_models_of_many_gigabytes_are_planned_as_llama_cpp_would_allocate_them(sparse, name):
    path = sparse(name)
    shape = shape_of_file(path)
    for changes in ({}, {"batch": 64, "context_length": 4096, "flash_attention": "off"}, {"parallel": 3}):
        settings = ModelSettings(gpu_layers=0, **changes)
        told, planned = simulate(path, settings), model_memory(shape, settings).host
        assert planned.kv_cache == pytest.approx(told.kv_cache, abs=2 * ROUNDED)  # a windowed model has two caches
        assert planned.compute == pytest.approx(told.compute["CPU"], rel=0.05)
    assert path.stat().st_blocks * 512 < 32 * MIB


@pytest.mark.parametrize("name", KNOWN_MODELS)
def test_a_published_shape_is_the_shape_of_its_file(sparse, name):
    read, known = shape_of_file(sparse(name)), short(name)
    assert (read.weights, read.n_embd, read.n_heads_kv) == (known.weights, known.n_embd, known.n_heads_kv)
    assert (read.n_ctx_train, read.sliding_window, read.is_tied) == (
        known.n_ctx_train,
        known.sliding_window,
        known.is_tied,
    )


@pytest.mark.parametrize("name", KNOWN_MODELS)
def test_sizes_of_types_are_those_of_llama_cpps_dry_run(sparse, name):
    path = sparse(name)
    shape = shape_of_file(path)
    said: list[str] = []
    listen = llama_cpp.llama_log_callback(lambda _level, line, _data: said.append(line.decode(errors="replace")))
    llama_cpp.llama_log_set(listen, ctypes.c_void_p(0))
    try:
        for type_name in RECIPES:
            if type_name == "F32":  # the dry run does not enlarge
                continue
            said.clear()
            parameters = llama_cpp.llama_model_quantize_default_params()
            parameters.ftype, parameters.dry_run, parameters.nthread = QUANT_TYPES[type_name].file_type, True, 1
            target = str(path.with_suffix(".none")).encode()
            assert llama_cpp.llama_model_quantize(str(path).encode(), target, parameters) == 0
            told = float(re.findall(r"quant size +=\s+([0-9.]+) MiB", "".join(said))[-1])
            assert stored_as(shape, type_name).weights_bytes / MIB == pytest.approx(told, abs=0.01)
    finally:
        install_log()


def test_a_simulation_with_the_signal_on_the_device_decodes_nothing(tmp_path):
    """It tried the signal with weights that were not there, which ended the process (139)."""
    path = TinyModel().write(tmp_path / "model.gguf")
    expected = simulate(path, ModelSettings())
    assert simulate(path, ModelSettings(device_signal="on")) == expected


def test_a_simulation_leaves_the_log_as_it_was(tmp_path, caplog):
    def state():
        return logger.level, list(logger.handlers), logger.propagate

    path, before = TinyModel().write(tmp_path / "model.gguf"), state()
    assert simulate(path, ModelSettings()).kv_cache > 0
    assert state() == before
    with pytest.raises(ModelLoadError):
        simulate(tmp_path / "none.gguf", ModelSettings())
    assert state() == before
    assert not [record for record in caplog.records if record.levelname == "INFO"]


def test_the_demo_pairs_plan_is_what_it_is_loaded_with():
    with Pair.demo() as pair:
        assert pair.plan is not None and pair.plan.fits and not pair.plan.notes
        for planned, loaded in ((pair.plan.drafter, pair.drafter), (pair.plan.base, pair.base)):
            assert planned.memory.n_ctx == loaded.context.n_ctx
            weights = sum(weight.n_bytes for weight in planned.memory.shape.weights)
            assert weights == loaded.model.size_bytes
            assert planned.settings.gpu_layers != AUTO


def small_machine(free_mib: float, monkeypatch):
    host = Device(0, "CPU", "made up", "cpu", int(free_mib * MIB), int(free_mib * MIB))
    monkeypatch.setattr(Machine, "this", classmethod(lambda cls: Machine(host, ())))


def test_a_pair_that_cannot_fit_is_refused_before_it_is_loaded(monkeypatch):
    small_machine(4, monkeypatch)
    monkeypatch.setattr(Model, "load", lambda *_, **__: pytest.fail("loaded"))
    with pytest.raises(PlanError, match=r"the host is \d+ MiB short of memory.*--no-memory-check"):
        Pair.demo()


def test_the_check_can_be_left_out(monkeypatch):
    small_machine(4, monkeypatch)
    settings = ModelSettings(memory_check=False)
    with Pair.demo(drafter_settings=settings, base_settings=settings) as pair:
        assert pair.plan is not None and pair.plan.is_impossible and pair.plan.notes


def test_a_shorter_context_is_used_and_told(tmp_path, monkeypatch):
    path = TinyModel(n_ctx=8192).write(tmp_path / "model.gguf")
    whole = plan_pair(path, path, devices=Machine(Device(0, "CPU", "", "cpu", 1 << 40, 1 << 40), ()))
    small_machine(whole.devices[0].used / MIB * 1.1, monkeypatch)
    with Pair.load(path, path) as pair:
        assert pair.plan is not None
        assert pair.drafter.context.n_ctx == pair.base.context.n_ctx == pair.plan.base.memory.n_ctx < 8192
        assert any("tokens instead of 8,192" in note for note in pair.plan.notes)


def test_a_model_is_given_as_a_path_a_header_or_a_shape():
    path = files.base_path()
    from_path, from_header, from_shape = map(model_memory, (path, read_header(path), shape_of_file(path)))
    assert from_path.host == from_header.host == from_shape.host
