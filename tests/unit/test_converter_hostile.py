"""Checkpoints that must not be converted: each ends in one line that names the fault, and nothing is written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from edge_wsd.converters import convert
from edge_wsd.converters.tokenizers.sentencepiece_file import parse_sentencepiece
from edge_wsd.errors import ConversionError
from edge_wsd.models.gguf.file_types import find_type
from tests.small_checkpoint import PICKLE, POINTER, Folder, refusal
from tests.tiny_llama import N_EMBD
from tests.tiny_models import byte_characters


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    (tmp_path / "model").mkdir()
    return Folder(tmp_path / "model")


def test_the_unchanged_checkpoint_converts(folder: Folder) -> None:
    folder.write()
    result = convert(folder.path, folder.path.parent / "out.gguf", type="F32")
    assert result.n_tensors == len(folder.tensors)
    assert result.n_bytes == (folder.path.parent / "out.gguf").stat().st_size


def change_config(key: str, value: Any) -> Callable[[Folder], None]:
    return lambda folder: folder.config.__setitem__(key, value)


def change_tokenizer(key: str, value: Any) -> Callable[[Folder], None]:
    return lambda folder: folder.tokenizer.__setitem__(key, value)


def change_model(key: str, value: Any) -> Callable[[Folder], None]:
    return lambda folder: folder.tokenizer["model"].__setitem__(key, value)


def change_tensor(name: str, change: Callable[[Any], Any]) -> Callable[[Folder], None]:
    return lambda folder: folder.tensors.__setitem__(name, change(folder.tensors.get(name)))


FAULTS: dict[str, tuple[Callable[[Folder], Any], str]] = {
    "missing tensor": (lambda f: f.tensors.pop("model.norm.weight"), "'model.norm.weight' is missing"),
    "extra tensor": (
        change_tensor("model.layers.0.self_attn.q_norm.weight", lambda _: np.ones(4, np.float32)),
        "does not use, first 'model.layers.0.self_attn.q_norm.weight'",
    ),
    "tensor of another layer": (
        change_tensor("model.layers.1.input_layernorm.weight", lambda _: np.ones(N_EMBD, np.float32)),
        "does not use, first 'model.layers.1",
    ),
    "wrong shape": (change_tensor("lm_head.weight", lambda old: old.T), "config.json makes it [300, 32]"),
    "not a number": (change_tensor("model.norm.weight", lambda old: old * np.nan), "holds NaN or infinity"),
    "unknown architecture": (change_config("architectures", ["MysteryForCausalLM"]), "LlamaForCausalLM"),
    "no architecture": (change_config("architectures", None), "architectures is None"),
    "code of the repository": (change_config("auto_map", {"AutoModel": "m.M"}), "never run here"),
    "unknown rope scaling": (change_config("rope_scaling", {"type": "dynamic", "factor": 2}), "'dynamic'"),
    "scaling without factor": (change_config("rope_scaling", {"type": "linear"}), "has no factor"),
    "scaling upside down": (
        change_config("rope_scaling", {"type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 1}),
        "must be below",
    ),
    "other activation": (change_config("hidden_act", "gelu"), "llama has silu"),
    "text for a number": (change_config("hidden_size", "32"), "hidden_size is '32'"),
    "no layers": (change_config("num_hidden_layers", 0), "num_hidden_layers is 0"),
    "endless layers": (change_config("num_hidden_layers", 10**9), "a whole number from 1 to 4096"),
    "uneven heads": (change_config("num_key_value_heads", 3), "expected a multiple of"),
    "odd head": (change_config("head_dim", 15), "expected an even number"),
    "tied but different": (change_config("tie_word_embeddings", True), "config.json ties the two"),
    "unknown pre-tokenizer": (
        change_tokenizer("pre_tokenizer", {"type": "Whitespace"}), "known are gpt-2, llama-bpe",
    ),
    "prefix space": (
        change_tokenizer("pre_tokenizer", {"type": "ByteLevel", "add_prefix_space": True, "use_regex": True}),
        "not recognised",
    ),
    "lower-casing": (change_tokenizer("normalizer", {"type": "Lowercase"}), "'Lowercase' is not supported"),
    "word pieces": (change_model("type", "WordPiece"), "'WordPiece' is not supported"),
    "no merges": (change_model("merges", None), "merges is not a list"),
    "half a merge": (change_model("merges", ["t h", "t"]), "merge 1 is 't'"),
    "dropout": (change_model("dropout", 0.1), "model.dropout is set"),
    "more tokens than embeddings": (
        change_tokenizer("added_tokens", [{"id": 300, "content": "<x>", "special": True}]), "only 300 embeddings",
    ),
    "bos outside the vocabulary": (change_config("bos_token_id", 4000), "outside the vocabulary of 300"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        (b"---\nlicense: mit\n---\ncaf\xe9", "mit"),
        (b"\xef\xbb\xbf---\nlicense: mit\n---\n", "mit"),
        (b"\xff\xfe-\x00", None),
        (POINTER, None),
        (b"---\nlicense: mit\n---\n" + b"x" * (5 << 20), None),
    ],
    ids=["latin-1", "bom", "utf-16", "pointer", "huge"],
)
def test_a_model_card_stops_no_conversion(card: bytes, licence: str | None, folder: Folder) -> None:
    """One that was not UTF-8 did, and one with a BOM lost its licence."""
    folder.write()
    folder.save("README.md", card)
    target = convert(folder.path, folder.path.parent / "out.gguf", type="F32").target
    field = gguf.GGUFReader(target).fields.get("general.license")
    assert (field.contents() if field else None) == licence


def test_a_yarn_scaling_that_is_not_rounded_is_refused_as_null_too(folder: Folder) -> None:
    """`null` was taken for true; transformers takes it for false, and predictions were off by 5."""
    for value in (None, False):
        folder.config["rope_scaling"] = {"type": "yarn", "factor": 4, "truncate": value}
        folder.write()
        assert f"truncate is {'null' if value is None else 'false'}, llama.cpp always rounds" in refusal(folder)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_stops_the_conversion_in_one_line(fault: str, folder: Folder) -> None:
    break_it, message = FAULTS[fault]
    break_it(folder)
    folder.write()
    assert message in refusal(folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff\xfe", b"[" * 100_000])
def test_damaged_json_is_named(name: str, content: bytes, folder: Folder) -> None:
    folder.write()
    folder.save(name, content)
    assert refusal(folder).startswith(name)


def test_an_existing_target_is_kept_unless_forced(folder: Folder) -> None:
    folder.write()
    target = folder.path.parent / "out.gguf"
    target.write_bytes(b"precious")
    with pytest.raises(ConversionError, match="exists already"):
        convert(folder.path, target)
    assert target.read_bytes() == b"precious"
    convert(folder.path, target, force=True)
    assert target.read_bytes()[:4] == b"GGUF"


def test_a_failure_midway_keeps_the_old_target(folder: Folder) -> None:
    folder.tensors["model.norm.weight"][0] = np.inf
    folder.write()
    target = folder.path.parent / "out.gguf"
    target.write_bytes(b"precious")
    with pytest.raises(ConversionError, match="NaN or infinity"):
        convert(folder.path, target, force=True)
    assert target.read_bytes() == b"precious"
    assert sorted(folder.path.parent.iterdir()) == [folder.path, target]


def test_a_caller_that_stops_leaves_nothing_behind(folder: Folder) -> None:
    folder.write()

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(folder.path, folder.path.parent / "out.gguf", progress=stop)
    assert sorted(folder.path.parent.iterdir()) == [folder.path]


def test_a_full_disk_is_noticed_before_writing(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.write()
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("edge_wsd.converters.writing.target.shutil.disk_usage", lambda _: usage)
    assert "free some space" in refusal(folder)


def test_an_unknown_type_and_a_missing_folder_are_named(folder: Folder) -> None:
    folder.write()
    assert "expected one of F32, F16, BF16, Q8_0" in refusal(folder, type="Q9_9")
    with pytest.raises(ConversionError, match="make it first"):
        convert(folder.path, folder.path / "absent" / "out.gguf")
    with pytest.raises(ConversionError, match="is a folder"):
        convert(folder.path, folder.path)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("Q4", "Q4_K_M"), ("q5", "Q5_K_M"), ("Q8", "Q8_0"), ("Q6", "Q6_K"), ("Q3", "Q3_K_M"), ("Q2", "Q2_K"),
        ("IQ3", "IQ3_M"), ("iq4", "IQ4_XS"), ("TQ1", "TQ1_0"), ("int8", "Q8_0"), ("4bit", "Q4_K_M"), ("4", "Q4_K_M"),
        ("Q4_K_XL", "Q4_K_M"), ("q4km", "Q4_K_M"), ("Q40", "Q4_0"), ("Q5_1x", "Q5_1"), ("16", "F16"),
    ],
)  # fmt: skip
def test_a_type_that_is_none_is_answered_with_the_one_that_was_meant(typed: str, meant: str) -> None:
    """Q4 was answered with Q4_1, which nobody wants."""
    with pytest.raises(ConversionError, match=rf"type '{typed}' is unknown \(did you mean {meant}\?\)"):
        find_type(typed)


def test_a_named_pre_tokenizer_overrides_an_unknown_one(folder: Folder) -> None:
    folder.tokenizer["pre_tokenizer"] = {"type": "Whitespace"}
    folder.write()
    convert(folder.path, folder.path.parent / "out.gguf", pre_tokenizer="gpt-2")
    field = gguf.GGUFReader(folder.path.parent / "out.gguf").fields["tokenizer.ggml.pre"]
    assert field.contents() == "gpt-2"


def test_tokens_that_absorb_spaces_are_told(folder: Folder) -> None:
    folder.tokenizer["added_tokens"][0]["lstrip"] = True
    folder.write()
    note, *_ = convert(folder.path, folder.path.parent / "out.gguf").notes
    assert note.startswith("token '<s>'")


def test_the_model_card_and_both_forms_of_merges_arrive(folder: Folder) -> None:
    folder.tokenizer["model"]["merges"] = [["t", "h"]]
    folder.write()
    folder.save("README.md", b"---\nlicense: mit\nlanguage:\n- en\n- de\ntags: [small, test]\n---\n# Model\n")
    convert(folder.path, folder.path.parent / "out.gguf")
    fields = gguf.GGUFReader(folder.path.parent / "out.gguf").fields
    found = {key: fields[f"general.{key}"].contents() for key in ("name", "license", "languages", "tags")}
    assert found == {"name": "model", "license": "mit", "languages": ["en", "de"], "tags": ["small", "test"]}
    assert fields["tokenizer.ggml.merges"].contents() == ["t h"]


@pytest.mark.parametrize(
    ("eos", "stops", "eot"),
    [
        ("<e>", [256], None),
        ("<e>", [256, 257], 257),
        ("<e>", [256, 299, 257], 257),
        ("<e>", [256, 258], 258),
        ("<|im_end|>", [256, 257], 257),
    ],
)
def test_the_end_of_turn_is_the_other_stop(eos: str, stops: list[int], eot: int | None, folder: Folder) -> None:
    texts = {256: "<e>", 257: "<|im_end|>", 258: "<custom>"}
    folder.tokenizer["model"].update(merges=[], vocab={t: i for i, t in enumerate(byte_characters())})
    added = [{"id": token, "content": text, "special": True} for token, text in texts.items()]
    folder.tokenizer["added_tokens"] = added
    folder.write()
    folder.save("tokenizer_config.json", json.dumps({"eos_token": eos}).encode())
    folder.save("generation_config.json", json.dumps({"eos_token_id": stops}).encode())
    convert(folder.path, folder.path.parent / "out.gguf")
    found = gguf.GGUFReader(folder.path.parent / "out.gguf").fields.get("tokenizer.ggml.eot_token_id")
    assert (found.contents() if found else None) == eot


@pytest.mark.parametrize(
    "data", [b"", b"not a model", PICKLE, b"\x0a\xff\xff\xff\xff\x0f", b"\xff" * 40, b"\x0a\x02\x0a\x05"]
)
def test_damaged_sentencepiece_files_are_refused(data: bytes) -> None:
    with pytest.raises(ConversionError, match="is not a SentencePiece model"):
        parse_sentencepiece(data, "tokenizer.model")
