"""The files of importance matrices: llama.cpp's GGUF form and the older binary one."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from edge_wsd.converters.quantization.imatrix import Activations, Imatrix, read_imatrix, write_imatrix
from edge_wsd.errors import ModelFileError, QuantizationError
from tests.tiny_models import TinyModel

SUMS = np.array([[2, 4, 6, 8]], np.float32)
EXPERTS = np.arange(12, dtype=np.float32).reshape(3, 4)


def example():
    return Imatrix(
        {
            "blk.0.ffn_up.weight": Activations(SUMS, np.array([2], np.int64)),
            "blk.0.ffn_down_exps.weight": Activations(EXPERTS, np.array([2, 0, 4], np.int64)),
        },
        n_chunks=3,
        chunk_size=512,
        datasets=("notes.txt", "ähm.txt"),
    )


def dat(entries, trailer=b""):
    raw = struct.pack("<i", len(entries))
    for name, calls, values in entries:
        raw += struct.pack("<i", len(name)) + name + struct.pack("<ii", calls, len(values))
        raw += struct.pack(f"<{len(values)}f", *values)
    return raw + trailer


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "imatrix.gguf"
    write_imatrix(path, example())
    return path


def test_what_is_written_is_read_again(file):
    found, expected = read_imatrix(file), example()
    assert (found.n_chunks, found.chunk_size, found.datasets) == (3, 512, expected.datasets)
    assert found.activations.keys() == expected.activations.keys()
    for name, activations in expected.activations.items():
        assert np.array_equal(found.activations[name].sums, activations.sums)
        assert np.array_equal(found.activations[name].counts, activations.counts)


def test_the_file_is_what_other_readers_of_gguf_expect(file):
    gguf = pytest.importorskip("gguf")
    reader = gguf.GGUFReader(file)
    assert [tensor.name for tensor in reader.tensors] == [
        "blk.0.ffn_down_exps.weight.in_sum2", "blk.0.ffn_down_exps.weight.counts",
        "blk.0.ffn_up.weight.in_sum2", "blk.0.ffn_up.weight.counts",
    ]  # fmt: skip
    assert [list(tensor.shape) for tensor in reader.tensors] == [[4, 3], [1, 3], [4], [1]]
    assert reader.fields["general.type"].contents() == "imatrix"
    assert reader.fields["imatrix.chunk_count"].contents() == 3


def test_weights_are_means_and_ones_for_an_expert_without_tokens(file):
    weights = read_imatrix(file).weights()
    assert weights["blk.0.ffn_up.weight"].tolist() == [1, 2, 3, 4]
    assert weights["blk.0.ffn_down_exps.weight"].tolist() == [0, 0.5, 1, 1.5, 1, 1, 1, 1, 2, 2.25, 2.5, 2.75]
    assert all(values.dtype == np.float32 and values.ndim == 1 for values in weights.values())


def test_the_older_form_is_read(tmp_path):
    path = tmp_path / "imatrix.dat"
    trailer = struct.pack("<ii", 7, 5) + b"a.txt"
    path.write_bytes(dat([(b"blk.0.a.weight", 2, [2, 4]), (b"blk.1.a.weight", 0, [3, 5])], trailer))
    found = read_imatrix(path)
    assert found.weights()["blk.0.a.weight"].tolist() == [1, 2]
    assert found.weights()["blk.1.a.weight"].tolist() == [3, 5]  # without calls the values are means already
    assert (found.n_chunks, found.datasets) == (7, ("a.txt",))
    path.write_bytes(dat([(b"x", 2, [2, 4])]))
    assert read_imatrix(path).datasets == ()


@pytest.mark.parametrize(
    "raw, part",
    [
        (b"", "number of entries"),
        (b"\0\0\0\0", "claims 0 entries"),
        (b"\xff\xff\xff\x7f" + bytes(20), "claims 2147483647 entries"),
        (dat([(b"", 1, [1, 2])]), "no name"),
        (dat([(b"x", 1, [1]), (b"x", 1, [1])]), "name of another"),
        (dat([(b"x" * 64, 1, [1])]), "claims 64 bytes"),
        (dat([(b"\xff", 1, [1])]), "UTF-8"),
        (dat([(b"xxxx", 1, [])]) + bytes(8), "0 values"),
        (dat([(b"x", 1, [1, 2])])[:-4], "needs 8 bytes"),
        (dat([(b"x", 1, [float("nan")])]), "not sums of squares"),
        (dat([(b"x", 1, [-1])]), "not sums of squares"),
        (dat([(b"x", 1, [1])], struct.pack("<ii", 1, -5)), "claims -5 bytes"),
    ],
)
def test_a_damaged_older_file_is_one_line(tmp_path, raw, part):
    path = tmp_path / "imatrix.dat"
    path.write_bytes(raw)
    with pytest.raises(ModelFileError) as error:
        read_imatrix(path)
    assert part in str(error.value) and "\n" not in str(error.value)


def test_every_truncation_is_one_line(file):
    whole = file.read_bytes()
    for length in range(len(whole) - 28):  # behind the last value there is only padding
        file.write_bytes(whole[:length])
        with pytest.raises(ModelFileError) as error:
            read_imatrix(file)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "old, new, part",
    [
        (b"imatrix.chunk_size", b"imatrix.chunk_sizX", "chunk_size is missing"),
        (b"weight.counts", b"weight.countX", "no counts beside it"),
        (b"weight.in_sum2", b"weight.in_sumX", "belongs to no pair"),
        (struct.pack("<4f", *SUMS[0]), struct.pack("<4f", 1, float("inf"), 1, 1), "not sums of squares"),
        (struct.pack("<4f", *SUMS[0]), struct.pack("<4f", 1, -1, 1, 1), "not sums of squares"),
        (
            b"imatrix.chunk_count" + struct.pack("<I", 4),
            b"imatrix.chunk_count" + struct.pack("<I", 5),
            "must be a uint32",
        ),
    ],
)
def test_a_damaged_file_is_one_line(file, old, new, part):
    raw = file.read_bytes()
    assert old in raw
    file.write_bytes(raw.replace(old, new, 1))
    with pytest.raises(ModelFileError, match=part) as error:
        read_imatrix(file)
    assert "\n" not in str(error.value)


def test_a_model_is_no_importance_matrix(tmp_path):
    with pytest.raises(ModelFileError, match="not an importance matrix"):
        read_imatrix(TinyModel().write(tmp_path / "model.gguf"))


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(QuantizationError, match="cannot be written"):
        write_imatrix(tmp_path / "folder", example())
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]


def test_a_name_too_long_for_the_format_is_refused(tmp_path):
    matrix = Imatrix({"x" * 60: Activations(SUMS, np.array([1], np.int64))}, 1, 512)
    with pytest.raises(QuantizationError, match="longer than the 63 bytes"):
        write_imatrix(tmp_path / "imatrix.gguf", matrix)


@pytest.mark.parametrize("head", [b"GGUF", struct.pack("<ii", 1, 3) + b"abc" + struct.pack("<ii", 1, 2**31 - 1)])
def test_a_file_of_holes_is_not_read(tmp_path, head):
    # every value that such a file claims would be read
    with (tmp_path / "holes").open("wb") as holes:
        holes.write(head)
        holes.truncate(1 << 40)
    with pytest.raises(ModelFileError, match="larger than 4 GiB"):
        read_imatrix(tmp_path / "holes")
