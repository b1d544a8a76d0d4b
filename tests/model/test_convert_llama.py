"""Converted Llama checkpoints against transformers: the same numbers, in every type and form of the config."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from edge_wsd.converters import convert  # noqa: E402
from edge_wsd.llama.model import Model  # noqa: E402
from tests.agreement import expected_logprobs, largest_difference, random_tokens  # noqa: E402
from tests.checkpoint_tokenizers import N_VOCAB, save_bpe  # noqa: E402
from tests.checkpoints import load_reference, save_weights  # noqa: E402

LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0,
    "high_freq_factor": 4.0, "original_max_position_embeddings": 64,
}  # fmt: skip
LINEAR = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}


def save_llama(folder: Path, **changes: object) -> object:
    """Saves a random Llama without tokenizer and returns it as transformers reads it."""
    save_weights(folder, "llama", **changes)
    return load_reference(folder)


SHAPES: dict[str, dict[str, object]] = {
    "grouped, untied": {},
    "tied": {"tie_word_embeddings": True},
    "no grouping, sharded": {"num_key_value_heads": 4, "shards": True},
    "one key head, own head size": {"num_key_value_heads": 1, "head_dim": 32},
    "biases everywhere": {"attention_bias": True, "mlp_bias": True},
    "llama3 scaling": {"rope_parameters": LLAMA3},
    "llama3 scaling, tied, biased": {
        "rope_parameters": LLAMA3, "tie_word_embeddings": True, "attention_bias": True,
    },
    "linear scaling": {"rope_parameters": LINEAR},
    "large theta": {"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}},
    "bfloat16 weights": {"dtype": "bfloat16"},
    "float16 weights, large epsilon": {"dtype": "float16", "rms_norm_eps": 0.01},
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_an_f32_conversion_computes_what_transformers_computes(shape: str, tmp_path: Path) -> None:
    model = save_llama(tmp_path, **SHAPES[shape])
    save_bpe(tmp_path)
    convert(tmp_path, tmp_path / "out.gguf", type="F32")
    assert largest_difference(model, tmp_path / "out.gguf") < 1e-4


def test_the_scaling_of_positions_matters_in_these_tests(tmp_path: Path) -> None:
    model = save_llama(tmp_path, rope_parameters=LLAMA3)
    save_bpe(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["rope_parameters"] = {"rope_type": "default", "rope_theta": LLAMA3["rope_theta"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    convert(tmp_path, tmp_path / "out.gguf", type="F32")
    assert largest_difference(model, tmp_path / "out.gguf") > 0.01


@pytest.mark.parametrize("scaling", [LLAMA3, LINEAR], ids=["llama3", "linear"])
def test_both_ways_to_write_the_scaling_give_the_same_file(scaling: dict, tmp_path: Path) -> None:
    save_llama(tmp_path, rope_parameters=scaling)
    save_bpe(tmp_path)
    convert(tmp_path, tmp_path / "new.gguf", type="F32")
    config = json.loads((tmp_path / "config.json").read_text())
    del config["rope_parameters"]
    config["rope_theta"] = scaling["rope_theta"]
    config["rope_scaling"] = {key: value for key, value in scaling.items() if key != "rope_theta"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    convert(tmp_path, tmp_path / "old.gguf", type="F32")
    assert (tmp_path / "old.gguf").read_bytes() == (tmp_path / "new.gguf").read_bytes()


@pytest.mark.parametrize(("type_name", "bound"), [("F16", 0.1), ("BF16", 0.8), ("Q8_0", 0.8)])
def test_smaller_types_stay_near(type_name: str, bound: float, tmp_path: Path) -> None:
    model = save_llama(tmp_path, rope_parameters=LLAMA3)
    save_bpe(tmp_path)
    result = convert(tmp_path, tmp_path / "out.gguf", type=type_name)
    assert result.types == {"F32": 6, type_name: 16}
    assert result.notes == ()
    assert largest_difference(model, tmp_path / "out.gguf") < bound


def test_rows_that_do_not_fill_blocks_become_f16_and_the_result_says_so(tmp_path: Path) -> None:
    model = save_llama(tmp_path, intermediate_size=72)
    save_bpe(tmp_path)
    result = convert(tmp_path, tmp_path / "out.gguf", type="Q8_0")
    assert result.types == {"F32": 5, "Q8_0": 14, "F16": 2}
    assert "2 tensor(s) stored as F16" in result.notes[0]
    assert largest_difference(model, tmp_path / "out.gguf") < 0.8


@pytest.mark.parametrize("tied", [False, True])
def test_transformers_reads_the_file_back(tied: bool, tmp_path: Path) -> None:
    model = save_llama(tmp_path, tie_word_embeddings=tied, rope_parameters={"rope_theta": 5e5})
    save_bpe(tmp_path)
    convert(tmp_path, tmp_path / "out.gguf", type="F32")
    back = transformers.LlamaForCausalLM.from_pretrained(tmp_path, gguf_file="out.gguf", dtype=torch.float32).eval()
    tokens = random_tokens()
    for got, wanted in zip(expected_logprobs(back, tokens), expected_logprobs(model, tokens), strict=True):
        assert np.abs(got - wanted).max() < 1e-4


@pytest.mark.parametrize("bos", [False, True])
def test_special_tokens_and_the_template_arrive(bos: bool, tmp_path: Path) -> None:
    save_llama(tmp_path, eos_token_id=[1, 2])
    save_bpe(tmp_path, bos=bos)
    convert(tmp_path, tmp_path / "out.gguf", type="F16")
    with Model.load(tmp_path / "out.gguf", vocab_only=True) as model:
        assert (model.vocab.bos, model.vocab.eos, model.vocab.eot) == (0, 1, 2)
        assert model.vocab.add_bos is bos
        control = 1 << 3  # llama.cpp's attribute bit
        assert model.vocab.attributes(3) & control and not model.vocab.attributes(N_VOCAB - 1) & control
        assert model.vocab.n_tokens == N_VOCAB
        assert model.chat_template == "{{ bos_token }}{% for m in messages %}{{ m['content'] }}{% endfor %}"


DIRECT = ("F32", "F16", "BF16", "Q8_0")


def test_every_direct_type_is_written(tmp_path: Path) -> None:
    save_llama(tmp_path)
    save_bpe(tmp_path)
    sizes = {name: convert(tmp_path, tmp_path / f"{name}.gguf", type=name).n_bytes for name in DIRECT}
    assert sizes["F32"] > sizes["F16"] == sizes["BF16"] > sizes["Q8_0"]


def test_progress_ends_at_the_whole(tmp_path: Path) -> None:
    save_llama(tmp_path)
    save_bpe(tmp_path)
    calls: list[tuple[int, int]] = []
    convert(tmp_path, tmp_path / "out.gguf", progress=lambda done, total: calls.append((done, total)))
    assert calls == sorted(calls)
    assert calls[-1][0] == calls[-1][1] > 0
    assert math.isclose(calls[-1][1], (tmp_path / "out.gguf").stat().st_size, rel_tol=0.4)
