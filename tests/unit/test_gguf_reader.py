"""Reading and checking GGUF files that are as they should be."""

import ctypes
from math import prod
from pathlib import Path

import gguf
import numpy as np
import pytest

from edge_wsd.errors import ModelFileError
from edge_wsd.models.gguf import header as gguf_file
from edge_wsd.models.gguf.check import check_gguf, n_parts, part_paths
from edge_wsd.models.gguf.header import read_header
from edge_wsd.models.gguf.types import TENSOR_TYPES, ValueType
from tests.tiny_models import TinyModel, Value, sentencepiece_tokenizer, u16


def write_all_types(path: Path) -> None:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_uint8("u8", 255)
    writer.add_int8("i8", -1)
    writer.add_uint16("u16", 65535)
    writer.add_int16("i16", -2)
    writer.add_uint32("u32", 2**32 - 1)
    writer.add_int32("i32", -3)
    writer.add_uint64("u64", 2**64 - 1)
    writer.add_int64("i64", -4)
    writer.add_float32("f32", 0.5)
    writer.add_float64("f64", 0.1)
    writer.add_bool("yes", True)
    writer.add_string("text", "zażółć")
    writer.add_array("texts", ["a", "", "🙂"])
    writer.add_array("numbers", [1, -2, 3])
    writer.add_array("flags", [True, False])
    writer.add_tensor("a", np.zeros((3, 2), dtype=np.float32))
    writer.add_tensor("b", np.zeros((4,), dtype=np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_every_value_type_is_read_as_the_reference_writer_wrote_it(tmp_path: Path) -> None:
    path = tmp_path / "all.gguf"
    write_all_types(path)
    header = read_header(path)
    values = header.metadata
    assert [values[key] for key in ("u8", "i8", "u16", "i16", "u32", "i32", "u64", "i64")] == [
        255,
        -1,
        65535,
        -2,
        2**32 - 1,
        -3,
        2**64 - 1,
        -4,
    ]
    assert (values["f32"], values["f64"], values["yes"], values["text"]) == (0.5, 0.1, True, "zażółć")
    assert (values["texts"], list(values["numbers"]), list(values["flags"])) == (["a", "", "🙂"], [1, -2, 3], [1, 0])
    assert header.types["u64"] is ValueType.UINT64
    assert header.types["texts"] is ValueType.STRING and header.arrays == {"texts", "numbers", "flags"}


def test_tensors_are_listed_with_row_length_first_and_where_they_are(tmp_path: Path) -> None:
    path = tmp_path / "all.gguf"
    write_all_types(path)
    header = read_header(path)
    assert [(t.name, t.shape, t.type_name, t.offset, t.n_bytes) for t in header.tensors] == [
        ("a", (2, 3), "F32", 0, 24),
        ("b", (4,), "F16", 32, 8),
    ]
    reference = gguf.GGUFReader(path)
    assert header.data_offset == reference.data_offset
    assert header.alignment == 32 and header.version == 3


def test_texts_longer_than_what_is_read_at_once_are_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf_file, "_CHUNK_BYTES", 1 << 10)
    texts = ["x" * 700, "y" * 1_500, "z" * 65_536, "", *(f"token {index}" for index in range(20_000))]
    path = tmp_path / "long.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_array("texts", texts)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    assert read_header(path).metadata["texts"] == texts


def test_the_table_of_tensor_types_is_that_of_the_installed_llama_cpp() -> None:
    import llama_cpp._ggml as ggml

    block, n_bytes = ggml.libggml.ggml_blck_size, ggml.libggml.ggml_type_size
    block.restype, n_bytes.restype = ctypes.c_int64, ctypes.c_size_t
    sizes = {number: (block(number), n_bytes(number)) for number in range(43)}
    assert {number: size for number, size in sizes.items() if size[0]} == {
        number: (kind.block, kind.block_bytes) for number, kind in TENSOR_TYPES.items()
    }


class CpuTraits(ctypes.Structure):
    """The beginning of ggml's `ggml_type_traits_cpu`."""

    _fields_ = (
        ("from_float", ctypes.c_void_p),
        ("vec_dot", ctypes.c_void_p),
        ("vec_dot_type", ctypes.c_int),
        ("nrows", ctypes.c_int64),
    )


def test_the_types_that_multiply_are_those_for_which_llama_cpp_has_a_kernel() -> None:
    import llama_cpp._ggml as ggml

    if not hasattr(ggml.libggml, "ggml_get_type_traits_cpu"):
        pytest.skip("this llama.cpp loads its kernels for the processor from a file of their own")
    traits = ggml.libggml.ggml_get_type_traits_cpu
    traits.restype = ctypes.POINTER(CpuTraits)
    has_kernel = {number: traits(number).contents.vec_dot is not None for number in TENSOR_TYPES}
    assert has_kernel == {number: kind.multiplies for number, kind in TENSOR_TYPES.items()}


@pytest.mark.parametrize("metadata", [{}, sentencepiece_tokenizer()], ids=["byte pairs", "sentencepiece"])
def test_a_whole_model_passes(tmp_path: Path, metadata: dict[str, Value]) -> None:
    header = check_gguf(TinyModel(metadata=metadata).write(tmp_path / "tiny.gguf"))
    assert header.metadata["general.architecture"] == "llama"
    assert sum(prod(tensor.shape) for tensor in header.tensors) == 2 * 311 * 32 + 32 + 2 * (
        2 * 32 + 3 * 1024 + 3 * 2048
    )


def test_a_vocabulary_alone_passes_only_where_that_is_enough(tmp_path: Path) -> None:
    model = TinyModel()
    model.tensors = []
    path = model.write(tmp_path / "vocabulary.gguf")
    assert check_gguf(path, need_weights=False).tensors == ()
    with pytest.raises(ModelFileError, match="holds a vocabulary and no weights"):
        check_gguf(path)


def split(model: TinyModel, directory: Path, count: int = 3) -> list[Path]:
    """Writes `model` in parts as llama.cpp's splitter does: the metadata goes into the first."""
    tensors, paths = model.tensors, []
    share = -(-len(tensors) // count)
    for number in range(count):
        part = TinyModel(tensors=tensors[number * share : (number + 1) * share])
        if number:
            part.metadata = {}
        part.metadata |= {"split.no": u16(number), "split.count": u16(count)}
        paths.append(part.write(directory / f"tiny-{number + 1:05}-of-{count:05}.gguf"))
    return paths


def test_a_split_model_passes_by_its_first_part(tmp_path: Path) -> None:
    paths = split(TinyModel(), tmp_path)
    header = check_gguf(paths[0])
    assert part_paths(paths[0], n_parts(header)) == tuple(paths)


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    paths = split(TinyModel(), tmp_path)
    paths[1].unlink()
    with pytest.raises(ModelFileError, match=r"tiny-00002-of-00003\.gguf: part 2 of 3 is missing"):
        check_gguf(paths[0])


def test_a_later_part_names_the_first(tmp_path: Path) -> None:
    paths = split(TinyModel(), tmp_path)
    with pytest.raises(ModelFileError, match=r"is part 2 of 3; give the first, tiny-00001-of-00003\.gguf"):
        check_gguf(paths[1])


def test_parts_in_the_wrong_order_and_wrong_names_are_refused(tmp_path: Path) -> None:
    paths = split(TinyModel(), tmp_path)
    with pytest.raises(ModelFileError, match="not named NAME-00001-of-00003"):
        check_gguf(paths[0].rename(tmp_path / "renamed.gguf"))
    paths = split(TinyModel(), tmp_path)
    paths[2].write_bytes(paths[1].read_bytes())
    with pytest.raises(ModelFileError, match=r"split\.no should be 2, not 1"):
        check_gguf(paths[0])
