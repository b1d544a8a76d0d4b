"""Weights that must not be converted: each ends in one line that names the fault."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from edge_wsd.converters import convert
from tests.small_checkpoint import N_VOCAB, PICKLE, POINTER, Folder, refusal
from tests.tiny_llama import N_EMBD


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    (tmp_path / "model").mkdir()
    return Folder(tmp_path / "model")


def test_quantized_weights_are_told_by_their_types(folder: Folder) -> None:
    folder.config["quantization_config"] = {"quant_method": "gptq", "bits": 4}
    header = folder.header()
    header["lm_head.weight"] |= {"dtype": "I32"}
    folder.write(header)
    assert "quantization_config and the weights are quantized (I32); convert the original" in refusal(folder)


@pytest.mark.parametrize("value", [None, {}, {"quant_method": "bitsandbytes", "load_in_4bit": True}, 7])
def test_a_quantization_config_beside_plain_weights_is_left_out(value: Any, folder: Folder) -> None:
    """A `null`, and what tools leave behind when they merge adapters, was refused as quantized."""
    folder.config["quantization_config"] = value
    folder.write()
    notes = convert(folder.path, folder.path.parent / "out.gguf", type="F32").notes
    assert any("quantization_config" in note and "left out" in note for note in notes) is bool(value)


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.json", "tokenizer.model", "model.safetensors", "chat_template.jinja",
             "tokenizer_config.json", "generation_config.json", "model.safetensors.index.json"],
)  # fmt: skip
def test_a_pointer_of_git_lfs_is_told_as_one(name: str, folder: Folder) -> None:
    folder.write()
    if name == "tokenizer.model":
        (folder.path / "tokenizer.json").unlink()
    if name == "model.safetensors.index.json":
        (folder.path / "model.safetensors").unlink()
    folder.save(name, POINTER)
    assert f"{name} is a Git LFS pointer, not the file itself; run `git lfs pull`" in refusal(folder)


def test_values_beyond_f16_are_refused_for_f16_only(folder: Folder) -> None:
    folder.tensors["lm_head.weight"][3, 3] = 1e6
    folder.write()
    assert "beyond the range of F16" in refusal(folder, type="F16")
    convert(folder.path, folder.path.parent / "out.gguf", type="BF16")


def test_truncated_weights_are_named(folder: Folder) -> None:
    folder.write()
    whole = (folder.path / "model.safetensors").read_bytes()
    for length in (0, 7, 8, 100, len(whole) // 2, len(whole) - 1):
        folder.save("model.safetensors", whole[:length])
        assert "model.safetensors" in refusal(folder)
        assert "truncated" in refusal(folder)


def test_a_header_that_lies_is_refused(folder: Folder) -> None:
    first, second = list(folder.tensors)[:2]
    for change, message in (
        ({"data_offsets": [0, 10**12], "shape": [10**12 // 4]}, "the file has only"),
        ({"data_offsets": [0, 4]}, "does not fit F32"),
        ({"data_offsets": [-4, 0]}, "lacks a dtype"),
        ({"shape": "big"}, "lacks a dtype"),
        ({"data_offsets": [8, 4], "shape": []}, "does not fit"),
    ):
        header = folder.header()
        header[first].update(change)
        folder.write(header)
        assert message in refusal(folder)
    header = folder.header()
    header[second]["data_offsets"] = [0, N_EMBD * 4]
    folder.write(header)
    assert "overlap" in refusal(folder)


def test_a_name_that_stands_twice_in_a_header_is_refused(folder: Folder) -> None:
    folder.write()
    names = [*(f"t{index}" for index in range(200_000)), "twice", "twice"]
    raw = ("{" + ",".join(f'"{name}":0' for name in names) + "}").encode()
    folder.save("model.safetensors", len(raw).to_bytes(8, "little") + raw)
    assert "'twice' appears twice" in refusal(folder)


def test_weights_of_an_unknown_type_are_refused(folder: Folder) -> None:
    header = folder.header()
    name = next(iter(header))
    header[name]["dtype"] = "F8_E4M3"
    folder.write(header)
    assert "F8_E4M3" in refusal(folder)


def test_pickled_weights_are_refused_unread(folder: Folder) -> None:
    folder.write()
    (folder.path / "model.safetensors").unlink()
    folder.save("pytorch_model.bin", PICKLE)
    assert "runs code of the file" in refusal(folder)


def test_adapters_and_empty_folders_are_named(folder: Folder) -> None:
    assert "no config.json" in refusal(folder)
    folder.write()
    (folder.path / "model.safetensors").unlink()
    assert "neither model.safetensors nor" in refusal(folder)
    folder.save("adapter_model.safetensors", b"")
    assert "LoRA adapter" in refusal(folder)


@pytest.mark.parametrize(
    ("shard", "message"),
    [
        ("model-00001.safetensors", "is missing; download it"),
        ("../model.safetensors", "not a file of this folder"),
        ("part.safetensors", "which model.safetensors.index.json does not place there"),
    ],
)
def test_index_and_shards_must_agree(shard: str, message: str, folder: Folder) -> None:
    folder.write()
    (folder.path / "model.safetensors").rename(folder.path / "part.safetensors")
    index = {"weight_map": dict.fromkeys(list(folder.tensors)[:-1], shard)}
    folder.save("model.safetensors.index.json", json.dumps(index).encode())
    assert message in refusal(folder)


def test_a_shard_without_its_tensor_is_named(folder: Folder) -> None:
    folder.write()
    (folder.path / "model.safetensors").rename(folder.path / "part.safetensors")
    names = [*folder.tensors, "model.layers.9.gone"]
    index = {"weight_map": dict.fromkeys(names, "part.safetensors")}
    folder.save("model.safetensors.index.json", json.dumps(index).encode())
    assert "'model.layers.9.gone' is not in part.safetensors" in refusal(folder)


def test_buffers_and_equal_copies_are_left_out(folder: Folder) -> None:
    folder.tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = np.ones(8, np.float32)
    folder.tensors["lm_head.weight"] = folder.tensors["model.embed_tokens.weight"].copy()
    folder.config["tie_word_embeddings"] = True
    folder.write()
    assert convert(folder.path, folder.path.parent / "out.gguf").n_tensors == len(folder.tensors) - 2


@pytest.mark.parametrize(("dtype", "bits"), [("F16", 0xFC00), ("BF16", 0x7F80), ("BF16", 0x7FC1)])
def test_values_that_stay_as_they_are_are_checked_too(dtype: str, bits: int, folder: Folder) -> None:
    name = "lm_head.weight"
    folder.tensors[name] = np.full((N_VOCAB, N_EMBD), 0x3C00, np.uint16)
    header = {**folder.header(), name: {**folder.header()[name], "dtype": dtype}}
    folder.write(header)
    convert(folder.path, folder.path.parent / "out.gguf", type=dtype)
    reader = gguf.GGUFReader(folder.path.parent / "out.gguf")
    output = next(tensor for tensor in reader.tensors if tensor.name == "output.weight")
    assert output.data.tobytes() == folder.tensors[name].tobytes()
    (folder.path.parent / "out.gguf").unlink()
    folder.tensors[name][200, 3] = bits
    folder.write(header)
    assert "'output.weight' holds NaN or infinity" in refusal(folder, type=dtype)
