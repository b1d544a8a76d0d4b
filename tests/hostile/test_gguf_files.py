"""Bad model files: each gives one clear line, and none of them may take the process along."""

import json
import os
import struct
from pathlib import Path

import pytest

from edge_wsd import Pair
from edge_wsd.errors import ModelFileError
from edge_wsd.models.gguf.check import check_gguf
from edge_wsd.models.gguf.types import TENSOR_TYPES
from edge_wsd.models.summary import summarize
from tests.gguf_defects import DEFECTS, refusal
from tests.other_architectures import mixture, renamed
from tests.tiny_models import (
    F32,
    I32,
    NORMAL,
    TENSOR_F16,
    Tensor,
    TinyModel,
    boolean,
    numbers,
    sentencepiece_tokenizer,
    string,
    strings,
    u32,
)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b"\0" * 4096, "only zero bytes"),
        (b"Once upon a time\n" * 9, "text file"),
        ("zażółć ".encode() * 999, "text file"),
        (b"a" + "é".encode() * 999, "text file"),  # the first kilobyte ends inside a character
        (b"\n <!DOCTYPE html><html><body>404</body></html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (struct.pack("<Q", 2) + b"{}" + bytes(99), "safetensors"),
        (b"\x80\x02}q\x01." + bytes(range(99)), "PyTorch"),
        (b"PK\x03\x04" + bytes(range(99)), "PyTorch"),
        (b"\x1f\x8b\x08" + bytes(range(99)), "compressed"),
        (b"lmgg" + bytes(99), "before GGUF"),
        (b"\x7fELF\x02\x01\x01" + bytes(99), "begins with"),
        (b"GGU", "text file"),
    ],
)
def test_a_file_of_another_kind_is_named_as_what_it_seems_to_be(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    assert reason in refusal(path)
    assert "is not a GGUF file" in refusal(path)


def test_a_missing_file_a_directory_and_an_impossible_name_are_refused(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "none.gguf")
    assert "is a directory" in refusal(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    assert "edge-wsd convert" in refusal(tmp_path)
    TinyModel().write(tmp_path / "inside.gguf")
    assert "such as inside.gguf" in refusal(tmp_path)
    with pytest.raises(ModelFileError, match=r"not a file name|no such file"):
        check_gguf("a\0b")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.gguf")
    assert "not a regular file" in refusal(tmp_path / "pipe.gguf")


def test_a_pre_tokenizer_that_ends_the_process_at_two_spaces_is_refused(tmp_path: Path) -> None:
    """It passed, and the first text with two spaces in it ended in GGML_ASSERT."""
    model = TinyModel()
    model.metadata["tokenizer.ggml.pre"] = string("whitespace")
    assert "tokenizer.ggml.pre is 'whitespace'" in refusal(model.write(tmp_path / "model.gguf"))


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_model_with_one_defect_is_refused_for_it(tmp_path: Path, defect: str) -> None:
    change, reason = DEFECTS[defect]
    model = TinyModel()
    change(model)
    assert reason in refusal(model.write(tmp_path / "broken.gguf"))


@pytest.mark.parametrize("architecture", ["llama", "deci", "exaone", "minicpm", "nobody-knows"])
@pytest.mark.parametrize(
    ("name", "type_", "reason"),
    [
        ("output.weight", "I64", "has the type I64, which is not a type for weights"),
        ("token_embd.weight", "F64", "has the type F64, which is not a type for weights"),
        ("blk.0.attn_output.weight", "I32", "has the type I32, which is not a type for weights"),
        ("blk.1.ffn_up.weight", "Q8_1", "has the type Q8_1, which is not a type for weights"),
        ("blk.0.ffn_norm.weight", "BF16", "is a vector of type BF16, expected F32"),
        ("output_norm.weight", "Q8_0", "is a vector of type Q8_0, expected F32"),
    ],
)
def test_types_that_llama_cpp_cannot_compute_with_are_refused_for_every_architecture(
    tmp_path: Path, architecture: str, name: str, type_: str, reason: str
) -> None:
    # types were checked for Llama-like models alone; others ended the process in their first pass
    model = renamed(TinyModel(), architecture)
    swapped, number = model.tensor(name), next(number for number, kind in TENSOR_TYPES.items() if kind.name == type_)
    kind = TENSOR_TYPES[number]
    swapped.type, swapped.data = number, bytes(swapped.n_elements // kind.block * kind.block_bytes)
    assert reason in refusal(model.write(tmp_path / "model.gguf"))


def test_word_pieces_have_no_bytes(tmp_path: Path) -> None:
    """llama.cpp ended the process when it was asked for the text of one."""
    model = TinyModel(metadata={**sentencepiece_tokenizer(), "tokenizer.ggml.model": string("bert")})
    assert "token 3 is marked as a byte, and tokenizer 'bert' has none" in refusal(model.write(tmp_path / "m.gguf"))


def test_values_of_other_kinds_are_left_out_of_what_is_told(tmp_path: Path) -> None:
    """The merges that a SentencePiece vocabulary does not need were counted, whatever they were: a TypeError."""
    model = TinyModel(metadata={**sentencepiece_tokenizer(), "tokenizer.ggml.merges": u32(7)})
    model.metadata |= {"general.name": numbers(I32, [1, 2]), "general.license": boolean(True)}
    facts = summarize(model.write(tmp_path / "model.gguf"))
    assert facts["name"] is None and facts["licence"] is None and facts["memory"]["vocabulary_bytes"] > 0
    json.dumps(facts)


def test_tables_of_whole_numbers_are_no_matrices(tmp_path: Path) -> None:
    model = renamed(TinyModel(), "deepseek4")
    model.tensors.append(Tensor("blk.0.ffn_gate_tid2eid.weight", (4, 311), type=26, data=bytes(4 * 4 * 311)))
    check_gguf(model.write(tmp_path / "model.gguf"))


@pytest.mark.parametrize("type_", [TENSOR_F16, 30], ids=["F16", "BF16"])
def test_a_matrix_of_one_row_may_have_any_type(tmp_path: Path, type_: int) -> None:
    """Published files of mixtures with a shared expert were refused: llama.cpp's tools write its gate as a vector."""
    path = mixture(type_).write(tmp_path / "model.gguf")
    check_gguf(path)
    with Pair.load(path, path) as pair:
        assert pair.generate("hello", max_tokens=4).tokens


def test_as_many_experts_as_llama_cpp_takes_are_taken(tmp_path: Path) -> None:
    """Its largest known mixture has more than the 512 that were allowed."""
    model = renamed(TinyModel(), "kimi-k3")
    model.metadata |= {"kimi-k3.expert_count": u32(1024), "kimi-k3.expert_used_count": u32(16)}
    check_gguf(model.write(tmp_path / "model.gguf"))
    model.metadata["kimi-k3.expert_count"] = u32(1025)
    assert "do not fit together" in refusal(model.write(tmp_path / "model.gguf"))


def test_a_vocabulary_without_a_token_for_each_byte_is_refused(tmp_path: Path) -> None:
    tokens = [text if text != "<0x80>" else "other" for text in ["<unk>", "<s>", "</s>"]]
    tokens += [f"<0x{byte:02X}>" if byte != 0x80 else "other" for byte in range(256)]
    metadata = sentencepiece_tokenizer() | {
        "tokenizer.ggml.tokens": strings(tokens),
        "tokenizer.ggml.token_type": numbers(I32, [NORMAL] * len(tokens)),
        "tokenizer.ggml.scores": numbers(F32, [0.0] * len(tokens)),
    }
    assert "no token <0x80>" in refusal(TinyModel(metadata=metadata).write(tmp_path / "bytes.gguf"))
