"""Files that claim or are more than they hold: refused before memory is taken for it.

They are full of holes: terabytes for a disk of any size, read as zeros. A header of zeros is one of empty strings.
"""

import random
import struct
import sys
import tracemalloc
from pathlib import Path

import pytest

from edge_wsd.errors import ModelFileError
from edge_wsd.llama import library
from edge_wsd.models.gguf import header as gguf_file
from edge_wsd.models.gguf.check import check_gguf
from edge_wsd.models.gguf.header import MAX_ELEMENTS, MAX_PAIRS, MAX_TENSORS, MAX_TRAILING_BYTES, read_header
from edge_wsd.models.probe import trial as probe
from edge_wsd.models.probe.cache import ProbeCache
from edge_wsd.models.probe.trial import probe_model
from tests.tiny_models import TinyModel, Value, numbers, sentencepiece_tokenizer, string, strings, text

BOUND = 32 << 20
"""Bytes of memory that reading a small header may take, whatever it claims."""


def beginning(n_tensors: int, n_pairs: int) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, n_tensors, n_pairs)


def array(type_: int, count: int) -> bytes:
    return text("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, type_, count)


def with_holes(path: Path, head: bytes, size: int = 1 << 32) -> Path:
    with path.open("wb") as file:
        file.write(head)
        file.truncate(size)
    return path


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (beginning(0, 1) + array(8, 33_000_000), "33000000 elements, with which"),
        (beginning(0, 1) + array(5, 33_000_000), "33000000 elements, with which"),
        (beginning(0, 1) + array(8, 1 << 62), "claims 4611686018427387904 elements"),
        (beginning(0, 12_000_000), "claims 12000000 metadata values"),
        (beginning(6_000_000, 0), "claims 6000000 tensors"),
        (beginning(0, MAX_PAIRS + 1), "expected at most"),
        (beginning(MAX_TENSORS + 1, 0), "expected at most"),
        (beginning(0, 1) + struct.pack("<Q", 1 << 31), "the name of metadata value 0 has 2147483648 bytes"),
        (beginning(0, 1) + text("general.name") + struct.pack("<IQ", 8, 1 << 26), "general.name has 67108864 bytes"),
        (beginning(0, 1) + array(8, 1) + struct.pack("<Q", 1 << 26), "element 0 of .* has 67108864 bytes"),
        (beginning(1, 0) + struct.pack("<Q", 1 << 26), "the name of tensor 0 has 67108864 bytes"),
    ],
)
def test_a_header_that_claims_too_much_is_refused_before_it_is_read(tmp_path: Path, head: bytes, reason: str) -> None:
    # 33 million empty tokens took 37 s and 4 GB
    path = with_holes(tmp_path / "holes.gguf", head)
    tracemalloc.start()
    try:
        with pytest.raises(ModelFileError, match=reason):
            check_gguf(path)
        assert tracemalloc.get_traced_memory()[1] < BOUND
    finally:
        tracemalloc.stop()


def test_all_of_a_header_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = TinyModel()
    model.metadata |= {f"general.{index}": string("x" * (1 << 18)) for index in range(4)}
    path = model.write(tmp_path / "model.gguf")
    check_gguf(path)
    monkeypatch.setattr(gguf_file, "MAX_HEADER_BYTES", 1 << 20)
    with pytest.raises(ModelFileError, match=r"general\.\d.* makes the header larger than 1 MiB"):
        check_gguf(path)


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("tokenizer.ggml.tokens", strings([*TinyModel().tokens[:-1], "x" * 8193]), "a token has 8193 characters"),
        ("tokenizer.ggml.tokens", strings([*TinyModel().tokens[:-1], "é" * 40_000]), "has 80000 bytes"),
        ("tokenizer.ggml.merges", strings(["a " + "b" * 70_000]), "element 0 of tokenizer.ggml.merges has 70002 bytes"),
        ("tokenizer.chat_template", string("x" * (50 << 20)), "tokenizer.chat_template has 52428800 bytes"),
        ("tokenizer.chat_template", string("x" * (2 << 20)), "its chat template has 2097152 characters"),
        ("general.tags", Value(9, struct.pack("<IQ", 9, 1) + struct.pack("<IQ", 4, 0)), "an array of arrays"),
    ],
)
def test_texts_beyond_all_measure_are_refused(tmp_path: Path, key: str, value: Value, reason: str) -> None:
    # only the whole header was bounded: one token could have 256 MB, and each part of it a place in a table
    model = TinyModel()
    model.metadata[key] = value
    with pytest.raises(ModelFileError, match=reason):
        check_gguf(model.write(tmp_path / "model.gguf"))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits what a process allocates")
def test_a_tokenizer_that_keeps_every_part_of_long_tokens_is_refused_its_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # some 50 tokens of 8,000 characters passed every check and took gigabytes
    if library.supports_offload():
        pytest.skip("with a GPU there is no limit: its driver maps far more than it takes")
    model, source = TinyModel(metadata=sentencepiece_tokenizer()), random.Random(1)
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokens += ["".join(source.choices("abcdefgh", k=8000)) for _ in range(len(model.tokens) - len(tokens))]
    model.metadata |= {"tokenizer.ggml.tokens": strings(tokens), "tokenizer.ggml.model": string("plamo2")}
    path = model.write(tmp_path / "greedy.gguf")
    monkeypatch.setattr(probe, "MEMORY_BYTES", 1 << 28)
    with pytest.raises(ModelFileError, match=r"greedy\.gguf: llama\.cpp wants more memory for it than the \d+ MiB"):
        probe_model(path, header=check_gguf(path), cache=ProbeCache(tmp_path / "probed.json"))


def test_the_longest_texts_in_use_are_read(tmp_path: Path) -> None:
    model = TinyModel()
    model.tokens[-1] = " " * 1024
    model.metadata["tokenizer.ggml.tokens"] = strings(model.tokens)
    model.metadata["tokenizer.huggingface.json"] = string("x" * (17 << 20))
    model.metadata["tokenizer.chat_template"] = string("x" * 100_000)
    check_gguf(model.write(tmp_path / "model.gguf"))


def test_many_arrays_count_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = TinyModel()
    n_there = sum(len(read_header(model.write(tmp_path / "a.gguf")).metadata[key]) for key in ARRAYS)
    model.metadata |= {f"general.tags{i}": strings(["x"] * 50) for i in range(4)}
    path = model.write(tmp_path / "many.gguf")
    monkeypatch.setattr(gguf_file, "MAX_ELEMENTS", n_there + 200)
    check_gguf(path)
    monkeypatch.setattr(gguf_file, "MAX_ELEMENTS", n_there + 199)
    with pytest.raises(ModelFileError, match=r"general\.tags3 has 50 elements"):
        check_gguf(path)
    assert MAX_ELEMENTS > 4_000_000


ARRAYS = ("tokenizer.ggml.tokens", "tokenizer.ggml.token_type", "tokenizer.ggml.merges")


def test_a_vocabulary_of_a_million_tokens_is_no_lie(tmp_path: Path) -> None:
    model = TinyModel()
    model.metadata["general.numbers"] = numbers(5, [0] * 1_000_000)
    check_gguf(model.write(tmp_path / "large.gguf"))


@pytest.mark.parametrize("behind", [MAX_TRAILING_BYTES + 1, 40 << 30])
def test_a_good_file_with_gigabytes_of_nothing_behind_its_tensors_is_refused(tmp_path: Path, behind: int) -> None:
    # llama.cpp maps all of it
    model = TinyModel()
    path = with_holes(tmp_path / "tail.gguf", model.to_bytes(), len(model.to_bytes()) + behind)
    with pytest.raises(ModelFileError, match=rf"{behind} bytes follow its last tensor"):
        check_gguf(path)
    check_gguf(with_holes(path, model.to_bytes(), len(model.to_bytes()) + MAX_TRAILING_BYTES))


def test_a_vocabulary_with_gigabytes_of_nothing_behind_it_is_refused(tmp_path: Path) -> None:
    model = TinyModel()
    model.tensors = []
    path = with_holes(tmp_path / "tail.gguf", model.to_bytes())
    with pytest.raises(ModelFileError, match="follow its last tensor"):
        check_gguf(path, need_weights=False)
