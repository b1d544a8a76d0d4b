"""Quantizing: every type is made by llama.cpp, read by others, and rules, matrices and failures do what they say."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import gguf
import numpy as np
import psutil
import pytest

from edge_wsd.child_process import python_command
from edge_wsd.converters import SUPPORTED_TYPES, convert, quantize
from edge_wsd.converters.quantization.imatrix import Activations, Imatrix, write_imatrix
from edge_wsd.converters.quantization.keep import kept_types, parse_keep
from edge_wsd.errors import Cancelled, ConversionError, ModelFileError, QuantizationError
from edge_wsd.llama.model import Model
from edge_wsd.llama.tools.quantizer import Quantizer, Request
from edge_wsd.models.gguf.check import check_gguf
from edge_wsd.models.gguf.file_types import ALIASES, QUANT_TYPES, find_type
from edge_wsd.models.gguf.header import read_header
from tests.checkpoints import make_checkpoint
from tests.tiny_models import TinyModel, u32

CHILD = "edge_wsd.llama.tools.quantizer_child"
# Root mean square of the error over that of the weights: what Gaussian weights lose in a type, with some room.
LARGEST_ERROR = {
    "F32": 0.0, "F16": 1e-3, "BF16": 3e-3, "Q8_0": 0.01, "Q6_K": 0.03, "Q5_K": 0.05, "Q5_1": 0.05, "Q5_0": 0.06,
    "Q4_K": 0.1, "Q4_1": 0.1, "Q4_0": 0.12, "IQ4_NL": 0.11, "IQ4_XS": 0.11, "Q3_K": 0.2, "IQ3_S": 0.22,
    "IQ3_XXS": 0.3, "Q2_K": 0.4, "IQ2_S": 0.5, "IQ2_XS": 0.5, "IQ2_XXS": 0.55, "IQ1_M": 0.75, "IQ1_S": 0.75,
    "TQ2_0": 0.9, "TQ1_0": 0.9,
}  # fmt: skip


def model(**changes) -> TinyModel:
    """Rows of 256, so that every type can have its blocks."""
    return TinyModel(**{"n_embd": 256, "n_layers": 1, "n_ff": 256, "n_ctx": 64, "scale": 0.05, **changes})


def matrix(folder: Path, seed: int = 0, **changes) -> Path:
    numbers = np.random.default_rng(seed)
    activations = {
        f"blk.0.{name}.weight": Activations(numbers.random((1, 256), np.float32) ** 4 + 1e-3, np.array([8]))
        for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    }
    path = folder / f"imatrix-{seed}.gguf"
    write_imatrix(path, Imatrix({**activations, **changes}, 2, 4, ("text.txt",)))
    return path


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    return model().write(tmp_path_factory.mktemp("source") / "model.gguf")


@pytest.fixture(scope="module")
def imatrix(tmp_path_factory) -> Path:
    return matrix(tmp_path_factory.mktemp("imatrix"))


def types_of(path: Path) -> dict[str, str]:
    return {tensor.name: tensor.type_name for tensor in read_header(path).tensors}


def data_of(path: Path, name: str) -> bytes:
    header = read_header(path)
    tensor = next(tensor for tensor in header.tensors if tensor.name == name)
    start = header.data_offset + tensor.offset
    return path.read_bytes()[start : start + tensor.n_bytes]


def values_of(path: Path, name: str) -> np.ndarray:
    """Read back by gguf's own code, which shares nothing with llama.cpp's."""
    type_ = gguf.GGMLQuantizationType[types_of(path)[name]]
    return gguf.quants.dequantize(np.frombuffer(data_of(path, name), np.uint8), type_).reshape(-1)


# llama.cpp builds the tables of these anew in every process, which takes longer than all the others together.
SLOW = ("IQ1_S", "IQ1_M", "IQ2_S", "IQ2_M", "IQ3_XXS")
EACH_TYPE = [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in SUPPORTED_TYPES]


@pytest.mark.parametrize("name", EACH_TYPE)
def test_every_type_loads_and_holds_the_weights_as_well_as_it_can(name, source, imatrix, tmp_path):
    seen = []
    kind = QUANT_TYPES[name]
    made = quantize(
        source, tmp_path / "out.gguf", name, threads=1, imatrix=imatrix if kind.imatrix == "required" else None,
        progress=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    header = check_gguf(made.target)
    assert header.metadata["general.file_type"] == kind.file_type
    assert made.n_bytes == made.target.stat().st_size and sum(made.types.values()) == made.n_tensors == 12
    assert seen == sorted(seen) and seen[-1][0] == seen[-1][1] and abs(seen[-1][1] - made.n_bytes) < 4096
    stored = types_of(made.target)
    assert kind.tensor_type in stored.values() or name in ("MXFP4_MOE", "Q2_K_S")
    for tensor in ("blk.0.ffn_gate.weight", "token_embd.weight", "output.weight"):
        if stored[tensor] in LARGEST_ERROR:
            truth = values_of(source, tensor)
            error = np.sqrt(np.mean((values_of(made.target, tensor) - truth) ** 2) / np.mean(truth**2))
            assert error <= LARGEST_ERROR[stored[tensor]], (tensor, stored[tensor])
    with Model.load(made.target) as loaded:
        assert loaded.vocab.n_tokens == len(model().tokens)


def test_the_bits_of_a_type_fall_along_the_families_of_types():
    for family in (["Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M", "Q2_K"], ["IQ4_NL", "IQ3_M", "IQ2_M", "IQ1_S"]):
        bits = [QUANT_TYPES[name].bits_per_weight for name in family]
        assert bits == sorted(bits, reverse=True)


def test_names_of_types_are_understood_in_any_case_and_by_their_aliases():
    assert find_type("q4_k").name == find_type("Q4-K-M").name == "Q4_K_M"
    assert {find_type(name).name for name in ALIASES} <= set(SUPPORTED_TYPES)
    with pytest.raises(ConversionError, match="did you mean Q4_K_M"):
        find_type("Q4KM")
    with pytest.raises(ConversionError, match="unknown"):
        find_type("NVFP4")  # llama.cpp knows the number and refuses to make the file


def test_keep_rules_are_in_the_file(source, tmp_path):
    keep = parse_keep(["output=f16", "embedding", "attn_v=Q8_0", r"ffn_(up|down)=Q5_K", "ffn_up=Q2_K"])
    made = quantize(source, tmp_path / "out.gguf", "Q4_K_M", keep=keep, threads=1)
    stored = types_of(made.target)
    assert stored["output.weight"] == "F16" and stored["token_embd.weight"] == "F32"
    assert stored["blk.0.attn_v.weight"] == "Q8_0" and stored["blk.0.attn_q.weight"] == "Q4_K"
    assert stored["blk.0.ffn_up.weight"] == stored["blk.0.ffn_down.weight"] == "Q5_K"  # the first pattern counts
    assert data_of(made.target, "token_embd.weight") == data_of(source, "token_embd.weight")


def test_keep_rules_hold_in_a_file_of_floats_as_well(source, tmp_path):
    made = quantize(source, tmp_path / "out.gguf", "F16", keep={"attn_v": "Q8_0", "output": ""}, threads=1)
    stored = types_of(made.target)
    assert stored["blk.0.attn_v.weight"] == "Q8_0" and stored["output.weight"] == "F32"
    assert stored["blk.0.attn_q.weight"] == "F16" and made.types["F16"] == 7
    assert check_gguf(made.target).metadata["general.file_type"] == QUANT_TYPES["F16"].file_type


def test_output_means_the_embedding_where_the_two_are_one(tmp_path):
    tied = model()
    tied.tensors = [tensor for tensor in tied.tensors if tensor.name != "output.weight"]
    tensors = read_header(tied.write(tmp_path / "tied.gguf")).tensors
    assert kept_types({"output": "Q8_0"}, tensors) == {"token_embd.weight": "Q8_0"}
    with pytest.raises(QuantizationError, match="one type"):
        kept_types({"embedding": "F16", "output": "Q8_0"}, tensors)


@pytest.mark.parametrize(
    "rule, why",
    [
        ("nothing=Q8_0", "matches no matrix"),
        ("output=Q4_K_M", "no such tensor type"),
        ("attn_(=Q8_0", "is not a pattern"),
        ("output=", "is not NAME=TYPE"),
        ("=Q8_0", "is not NAME=TYPE"),
        ("output=IQ2_XXS", "needs an importance matrix"),
    ],
)
def test_a_rule_that_cannot_be_followed_stops_before_anything_is_written(rule, why, source, tmp_path):
    with pytest.raises(QuantizationError, match=why):
        quantize(source, tmp_path / "out.gguf", "Q4_K_M", keep=parse_keep([rule]), threads=1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["IQ2_XXS", "IQ4_XS", "Q4_K_M"])
def test_an_importance_matrix_changes_what_is_written_and_is_named_in_the_file(name, source, imatrix, tmp_path):
    one = quantize(source, tmp_path / "one.gguf", name, imatrix=imatrix, threads=1).target
    two = quantize(source, tmp_path / "two.gguf", name, imatrix=matrix(tmp_path, seed=1), threads=1).target
    assert data_of(one, "blk.0.ffn_up.weight") != data_of(two, "blk.0.ffn_up.weight")
    metadata = read_header(one).metadata
    assert metadata["quantize.imatrix.file"] == "imatrix-0.gguf" and metadata["quantize.imatrix.dataset"] == "text.txt"
    assert (metadata["quantize.imatrix.entries_count"], metadata["quantize.imatrix.chunks_count"]) == (7, 2)


def test_important_columns_come_out_closer(source, tmp_path):
    sums = np.full((1, 256), 1e-3, np.float32)
    sums[:, ::2] = 1.0
    path = matrix(tmp_path, **{"blk.0.ffn_up.weight": Activations(sums, np.array([1]))})
    made = quantize(source, tmp_path / "out.gguf", "Q2_K", imatrix=path, threads=1).target
    truth, found = (values_of(file, "blk.0.ffn_up.weight").reshape(-1, 256) for file in (source, made))
    error = np.mean((found - truth) ** 2, axis=0)
    assert error[::2].mean() < 0.8 * error[1::2].mean()


@pytest.mark.parametrize("name, n_columns", [("blk.7.attn_q.weight", 256), ("blk.0.attn_q.weight", 128)])
def test_the_importance_matrix_of_another_model_is_refused(name, n_columns, source, tmp_path):
    path = matrix(tmp_path, **{name: Activations(np.ones((1, n_columns), np.float32), np.array([1]))})
    with pytest.raises(QuantizationError, match="use the importance matrix of this model"):
        quantize(source, tmp_path / "out.gguf", "Q4_K_M", imatrix=path, threads=1)


def test_types_that_need_an_importance_matrix_say_so(source, tmp_path):
    with pytest.raises(QuantizationError, match="needs an importance matrix; make one with `edge-wsd imatrix`"):
        quantize(source, tmp_path / "out.gguf", "IQ2_XS", threads=1)
    assert any("loses much" in note for note in quantize(source, tmp_path / "o.gguf", "Q2_K", threads=1).notes)


def test_rows_that_do_not_divide_are_told(tmp_path):
    path = model(n_embd=96, n_ff=160).write(tmp_path / "odd.gguf")
    made = quantize(path, tmp_path / "out.gguf", "Q4_K_M", threads=1)
    assert any("rows do not divide" in note and "Q5_0" in note for note in made.notes)
    with pytest.raises(QuantizationError, match="needs multiples of 256"):
        quantize(path, tmp_path / "out2.gguf", "Q4_K_M", keep={"attn_q": "Q6_K"}, threads=1)


def test_a_quantized_file_is_quantized_again_only_on_request(source, tmp_path):
    first = quantize(source, tmp_path / "q8.gguf", "Q8_0", threads=1).target
    with pytest.raises(QuantizationError, match=r"quantized already .* --allow-requantize"):
        quantize(first, tmp_path / "q4.gguf", "Q4_K_M", threads=1)
    made = quantize(first, tmp_path / "q4.gguf", "Q4_K_M", requantize=True, threads=1)
    assert any("already" in note for note in made.notes) and made.types["Q4_K"]


def test_a_file_with_another_alignment_is_still_read_right(source, tmp_path):
    path = model(alignment=128, metadata={"general.alignment": u32(128)}).write(tmp_path / "wide.gguf")
    one = quantize(path, tmp_path / "one.gguf", "Q4_0", threads=1).target
    two = quantize(source, tmp_path / "two.gguf", "Q4_0", threads=1).target
    assert read_header(one).alignment == 32
    assert data_of(one, "blk.0.ffn_up.weight") == data_of(two, "blk.0.ffn_up.weight")


def test_existing_targets_and_the_source_itself_are_safe(source, tmp_path):
    target = tmp_path / "out.gguf"
    target.write_text("precious")
    with pytest.raises(QuantizationError, match="--force"):
        quantize(source, target, "Q4_0", threads=1)
    copy = Path(shutil.copy(source, tmp_path / "copy.gguf"))
    os.link(copy, tmp_path / "link.gguf")
    for same in (copy, tmp_path / "link.gguf"):
        with pytest.raises(QuantizationError, match="is the file to be quantized"):
            quantize(copy, same, "Q4_0", force=True, threads=1)
    with pytest.raises(QuantizationError, match="with the importance matrix"):
        quantize(source, copy, "Q4_0", imatrix=copy, force=True, threads=1)
    assert target.read_text() == "precious" and copy.read_bytes() == source.read_bytes()


def test_a_folder_that_cannot_be_written_to_is_named_before_anything_is_read(source, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    with pytest.raises(QuantizationError, match=f"folder {tmp_path} cannot be written to"):
        quantize(source, tmp_path / "q.gguf", "Q8_0")


def test_a_full_disk_is_known_before_and_noticed_during(source, tmp_path, monkeypatch):
    limited = python_command(CHILD)
    code = limited.index("-c") + 1
    limited[code] = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (99999, 99999)); " + limited[code]
    with pytest.raises(QuantizationError, match="is the disk full"):
        quantize(source, tmp_path / "out.gguf", "Q8_0", command=limited, threads=1)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9 - 99999, 99999))
    with pytest.raises(QuantizationError, match="free some space"):
        quantize(source, tmp_path / "out.gguf", "Q8_0", threads=1)
    assert not list(tmp_path.iterdir())


def test_what_is_no_number_is_refused(tmp_path):
    bad = model()
    tensor = bad.tensor("blk.0.ffn_up.weight")
    tensor.data = np.full(tensor.n_elements, np.nan, np.float32).tobytes()
    with pytest.raises(QuantizationError, match=r"ffn_up.weight.*the file is damaged"):
        quantize(bad.write(tmp_path / "nan.gguf"), tmp_path / "out.gguf", "Q4_0", threads=1)
    assert [path.name for path in tmp_path.iterdir()] == ["nan.gguf"]


def test_a_damaged_file_is_refused_before_llama_cpp_sees_it(source, tmp_path):
    (tmp_path / "cut.gguf").write_bytes(source.read_bytes()[:-5000])
    with pytest.raises(ModelFileError, match="damaged or incomplete"):
        quantize(tmp_path / "cut.gguf", tmp_path / "out.gguf", "Q4_0", command=["/nowhere"])


def test_an_assertion_of_llama_cpp_is_one_line(tmp_path):
    path = model(metadata={"llama.block_count": u32(0)}).write(tmp_path / "dead.gguf")
    request = Request(path, tmp_path / "out.gguf", 15)
    ends = pytest.raises(QuantizationError, match=r"ended early \(SIGABRT\): .*GGML_ASSERT")
    with ends as caught, Quantizer(request) as quantizer:
        quantizer.plan()
    assert "\n" not in str(caught.value)


def test_a_killed_child_and_one_that_does_not_start_are_told(source, tmp_path):
    request = Request(source, tmp_path / "out.gguf", 15)
    dies = [sys.executable, "-c", "import os; input(); os.kill(os.getpid(), 9)"]
    with pytest.raises(QuantizationError, match="SIGKILL"), Quantizer(request, dies) as quantizer:
        quantizer.plan()
    with pytest.raises(QuantizationError, match="does not start"):
        Quantizer(request, ["/nowhere/python"])


def test_cancelling_ends_the_child_and_leaves_nothing(source, tmp_path):
    def stop(_done, _total):
        raise Cancelled("enough")

    with pytest.raises(Cancelled):
        quantize(source, tmp_path / "out.gguf", "Q4_0", progress=stop, threads=1)
    assert not list(tmp_path.iterdir())
    assert not [child for child in psutil.Process().children() if CHILD in " ".join(child.cmdline())]


def test_a_child_ends_with_its_caller():
    child = subprocess.run(
        python_command(CHILD), stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False
    )
    assert child.returncode == 3 and child.stderr == b""


def test_a_child_ends_with_its_caller_even_where_its_file_cannot_be_removed(tmp_path):
    listen = (
        "import io, queue, sys, threading; from edge_wsd.llama.tools.quantizer_child import _listen; "
        "_listen(io.BytesIO(b''), queue.SimpleQueue(), sys.argv[1], threading.Event())"
    )
    child = subprocess.run([sys.executable, "-c", listen, str(tmp_path)], capture_output=True, timeout=60, check=False)
    assert child.returncode == 3  # a folder is not unlinked


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    sizes = {"hidden_size": 256, "intermediate_size": 256, "num_hidden_layers": 1, "num_attention_heads": 4}
    return make_checkpoint(tmp_path_factory.mktemp("checkpoint"), "llama", dtype="bfloat16", **sizes)


def test_converting_to_a_type_equals_converting_and_then_quantizing(checkpoint, tmp_path):
    seen, beside = [], set()

    def progress(done, total):
        seen.append(done / total)
        beside.update(path.name for path in tmp_path.iterdir())

    direct = convert(checkpoint, tmp_path / "direct.gguf", type="q4_k", keep={"output": "Q8_0"}, progress=progress)
    assert len(beside) > 1 and [path.name for path in tmp_path.iterdir()] == ["direct.gguf"]
    assert seen[-1] == 1 and min(seen) < 0.7
    floats = convert(checkpoint, tmp_path / "bf16.gguf", type="BF16").target
    made = quantize(floats, tmp_path / "made.gguf", "Q4_K_M", keep={"output": "Q8_0"}, threads=1)
    assert types_of(direct.target) == types_of(made.target) and direct.bits_per_weight == made.bits_per_weight
    for name in types_of(made.target):
        assert data_of(direct.target, name) == data_of(made.target, name)


def test_a_conversion_that_cannot_be_quantized_writes_nothing(checkpoint, tmp_path, monkeypatch):
    for wishes, why in (
        ({"type": "IQ2_XS"}, "needs an importance matrix"),
        ({"type": "Q4_K_M", "keep": {"nothing": "Q8_0"}}, "matches no matrix"),
        ({"type": "Q4_K_M", "imatrix": tmp_path / "none.gguf"}, "none.gguf"),
    ):
        with pytest.raises((ConversionError, ModelFileError), match=why):
            convert(checkpoint, tmp_path / "out.gguf", progress=lambda *_: pytest.fail("wrote"), **wishes)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, 60 << 20))
    with pytest.raises(QuantizationError, match="free some space"):
        convert(checkpoint, tmp_path / "out.gguf", type="Q4_K_M")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("share", [0.1, 0.85])
def test_a_conversion_stopped_in_either_step_leaves_nothing(share, checkpoint, tmp_path):
    def stop(done, total):
        if done >= share * total:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        convert(checkpoint, tmp_path / "out.gguf", type="Q4_K_M", progress=stop)
    assert not list(tmp_path.iterdir())
