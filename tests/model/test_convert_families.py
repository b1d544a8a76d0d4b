"""Converted checkpoints of every family against transformers: the same numbers, and a word where they cannot be."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
safetensors = pytest.importorskip("safetensors.numpy")

from edge_wsd import ModelSettings, Options, Pair  # noqa: E402
from edge_wsd.converters import convert  # noqa: E402
from edge_wsd.converters.families import gemma  # noqa: E402
from edge_wsd.errors import ConversionError, ModelFileError  # noqa: E402
from edge_wsd.llama.context import Context  # noqa: E402
from edge_wsd.llama.model import Model  # noqa: E402
from edge_wsd.models.gguf.check import check_gguf  # noqa: E402
from tests.agreement import EXACT, largest_difference, random_tokens  # noqa: E402
from tests.checkpoint_tokenizers import GEMMA_IDS, save_tokenizer  # noqa: E402
from tests.checkpoints import RECIPES, SHARED, load_reference, make_checkpoint, save_model  # noqa: E402
from tests.devices import ON_GPU  # noqa: E402

BOUND = 1e-3 if ON_GPU else 1e-4
# llama.cpp looks GELU up in a table of half-precision numbers on the CPU. With steep gates the table does not matter.
STEEP = {"gate_scale": 1e5}
GELU_BOUND = 0.01
YARN = {"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0, "original_max_position_embeddings": 64}
LINEAR = {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0}
HALF_HEAD = 8
LONGROPE = {
    "rope_type": "longrope", "rope_theta": 10000.0, "original_max_position_embeddings": 64,
    "short_factor": [1.0 + 0.1 * i for i in range(HALF_HEAD)], "long_factor": [1.5 + i for i in range(HALF_HEAD)],
}  # fmt: skip
FULL, SLIDING = "full_attention", "sliding_attention"


def nested(scaling: dict[str, Any], theta: float = 3000.0) -> dict[str, Any]:
    return {FULL: scaling, SLIDING: {"rope_type": "default", "rope_theta": theta}}


CASES: dict[str, dict[str, Any]] = {
    "llama: yarn": {"rope_parameters": YARN},
    "mistral": {},
    "mistral: own head size": {"head_dim": 32, "num_key_value_heads": 1},
    "mistral: window longer than the context": {"sliding_window": 512, "dtype": "bfloat16"},
    "qwen2": {},
    "qwen2: tied": {"tie_word_embeddings": True},
    "qwen2: yarn": {"rope_parameters": YARN},
    "qwen2: yarn of its own magnitude": {"rope_parameters": {**YARN, "attention_factor": 1.3}},
    "qwen2: yarn with mscale": {"rope_parameters": {**YARN, "mscale": 1.5, "mscale_all_dim": 0.7}},
    "qwen2: linear": {"rope_parameters": LINEAR},
    "qwen3": {},
    "qwen3: tied, bfloat16": {"tie_word_embeddings": True, "dtype": "bfloat16"},
    "qwen3: yarn": {"rope_parameters": YARN},
    "gemma2": STEEP,
    "gemma2: tight caps": {**STEEP, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 1.5},
    "gemma2: queries scaled otherwise": {**STEEP, "query_pre_attn_scalar": 100},
    "gemma2: as many layers as 27B": {**STEEP, "num_hidden_layers": 46, "query_pre_attn_scalar": 16},
    "gemma2: own pattern": {**STEEP, "layer_types": [FULL, FULL, SLIDING]},
    "gemma3": STEEP,
    "gemma3: scaled layers without window": {**STEEP, "rope_parameters": nested(LINEAR)},
    "gemma3: untied, capped": {**STEEP, "tie_word_embeddings": False, "final_logit_softcapping": 2.0},
    "gemma3: as many layers as 27B": {**STEEP, "num_hidden_layers": 62, "query_pre_attn_scalar": 16},
    "gemma3: own pattern": {**STEEP, "num_hidden_layers": 4, "layer_types": [SLIDING, FULL, FULL, SLIDING]},
    "gemma3: no window": {**STEEP, "num_hidden_layers": 2, "layer_types": [FULL, FULL], "query_pre_attn_scalar": 50},
    "phi3": {},
    "phi3: tied, one head of keys": {"tie_word_embeddings": True, "num_key_value_heads": 1},
    "phi3: text within the original context": {
        "rope_parameters": LONGROPE, "original_max_position_embeddings": 512, "max_position_embeddings": 2048,
    },
    "phi3: text beyond the original context": {"rope_parameters": LONGROPE, "original_max_position_embeddings": 64},
    "phi3: part of a head rotated": {
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5},
    },
}  # fmt: skip


def converted(folder: Path, **options: Any) -> Path:
    """The checkpoint of `folder` as F32, which must pass the check before loading."""
    target = folder / "out.gguf"
    convert(folder, target, type="F32", force=True, **options)
    check_gguf(target)
    return target


def told(folder: Path, words: str) -> bool:
    """Whether converting `folder` leaves a note with `words`."""
    return any(words in note for note in convert(folder, folder / "out.gguf", type="F32", force=True).notes)


@pytest.mark.parametrize("case", CASES)
def test_an_f32_conversion_computes_what_transformers_computes(case: str, tmp_path: Path) -> None:
    make_checkpoint(tmp_path, case.partition(":")[0], **CASES[case])
    assert largest_difference(load_reference(tmp_path), converted(tmp_path)) <= BOUND


@pytest.mark.parametrize("family", ["gemma2", "gemma3"])
def test_gelu_is_as_near_as_its_table(family: str, tmp_path: Path) -> None:
    make_checkpoint(tmp_path, family)
    assert largest_difference(load_reference(tmp_path), converted(tmp_path)) <= GELU_BOUND


def edit_config(folder: Path, **changes: Any) -> None:
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**values, **changes}))


MATTERS: list[tuple[str, dict[str, Any]]] = [
    ("mistral", {"rope_parameters": LINEAR}),
    ("qwen2: yarn", {"rope_parameters": {**YARN, "attention_factor": 1.0}}),
    ("qwen2: yarn", {"rope_parameters": {**YARN, "original_max_position_embeddings": 4096}}),
    ("qwen3", {"rms_norm_eps": 0.01}),
    ("gemma2", {"sliding_window": 41}),
    ("gemma2", {"layer_types": [FULL, SLIDING, FULL]}),
    ("gemma2", {"attn_logit_softcapping": 5.0}),
    ("gemma2", {"final_logit_softcapping": 15.0}),
    ("gemma2", {"query_pre_attn_scalar": 40}),
    ("gemma3", {"sliding_window": 39}),
    ("gemma3", {"layer_types": [SLIDING] * 4 + [FULL] + [SLIDING] * 2}),
    ("gemma3", {"query_pre_attn_scalar": 40}),
    ("gemma3", {"rope_parameters": nested({"rope_type": "default", "rope_theta": 1e6}, 20000.0)}),
    ("gemma3", {"rope_parameters": nested(LINEAR, 10000.0)}),
    ("gemma3: untied, capped", {"final_logit_softcapping": 2.5}),
    ("phi3: text beyond the original context", {"original_max_position_embeddings": 512}),
    ("phi3: text beyond the original context", {"rope_parameters": {**LONGROPE, "attention_factor": 1.0}}),
    ("phi3: part of a head rotated", {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4}}),
]


@pytest.mark.parametrize(("case", "change"), MATTERS, ids=str)
def test_a_wrong_value_of_the_config_shows(case: str, change: dict[str, Any], tmp_path: Path) -> None:
    make_checkpoint(tmp_path, case.partition(":")[0], **CASES[case])
    reference = load_reference(tmp_path)
    edit_config(tmp_path, **change)
    assert largest_difference(reference, converted(tmp_path)) > 10 * BOUND


@pytest.mark.parametrize("family", ["qwen3", "gemma3"])
def test_norms_of_queries_and_keys_are_not_exchanged(family: str, tmp_path: Path) -> None:
    make_checkpoint(tmp_path, family, **CASES[family])
    reference = load_reference(tmp_path)
    tensors = safetensors.load_file(tmp_path / "model.safetensors")
    other = {"q_norm": "k_norm", "k_norm": "q_norm"}
    swapped = {
        next((name.replace(a, b) for a, b in other.items() if a in name), name): value
        for name, value in tensors.items()
    }
    safetensors.save_file(swapped, tmp_path / "model.safetensors")
    assert largest_difference(reference, converted(tmp_path)) > 10 * BOUND


@pytest.mark.parametrize("family", ["gemma2", "gemma3"])
def test_norms_that_count_from_zero_show(family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_checkpoint(tmp_path, family, **CASES[family])
    monkeypatch.setattr(gemma, "_plus_one", lambda values: values)
    assert largest_difference(load_reference(tmp_path), converted(tmp_path)) > 10 * BOUND


WINDOWS: dict[str, dict[str, Any]] = {
    "mistral": {"sliding_window": 40},
    "qwen2": {"use_sliding_window": True, "sliding_window": 40, "max_window_layers": 1},
    "qwen3": {"use_sliding_window": True, "sliding_window": 40, "layer_types": [FULL, SLIDING]},
    "phi3": {"sliding_window": 40},
}


@pytest.mark.parametrize("family", WINDOWS)
def test_a_window_llama_cpp_ignores_is_told_and_exact_within_it(family: str, tmp_path: Path) -> None:
    make_checkpoint(tmp_path, family, **WINDOWS[family])
    assert told(tmp_path, "the same up to 40 tokens")
    reference = load_reference(tmp_path)
    assert largest_difference(reference, tmp_path / "out.gguf", random_tokens(40)) <= BOUND
    assert largest_difference(reference, tmp_path / "out.gguf") > 10 * BOUND


def test_windows_that_change_nothing_are_not_told(tmp_path: Path) -> None:
    make_checkpoint(tmp_path, "qwen2", use_sliding_window=True, sliding_window=40, max_window_layers=2)
    assert not told(tmp_path, "looks back 40")


def test_long_factors_for_short_texts_are_told(tmp_path: Path) -> None:
    make_checkpoint(tmp_path, "phi3", rope_parameters=LONGROPE, original_max_position_embeddings=64)
    assert told(tmp_path, "more than 64 tokens")


@pytest.mark.parametrize("old", ["su", "yarn"])
def test_the_old_names_of_longrope_give_the_same_file(old: str, tmp_path: Path) -> None:
    make_checkpoint(tmp_path, "phi3", rope_parameters=LONGROPE, original_max_position_embeddings=64)
    new = converted(tmp_path).read_bytes()
    scaling = {key: LONGROPE[key] for key in ("short_factor", "long_factor")}
    edit_config(tmp_path, rope_parameters=None, rope_theta=10000.0, rope_scaling={**scaling, "type": old})
    assert converted(tmp_path).read_bytes() == new


def test_the_flat_form_of_gemma_3_gives_the_same_file(tmp_path: Path) -> None:
    make_checkpoint(tmp_path, "gemma3", rope_parameters=nested({**LINEAR, "rope_theta": 2e6}, 20000.0))
    new = converted(tmp_path).read_bytes()
    scaling = {"rope_type": "linear", "factor": 8.0}
    edit_config(tmp_path, rope_parameters=None, rope_theta=2e6, rope_local_base_freq=20000.0, rope_scaling=scaling)
    edit_config(tmp_path, layer_types=None, sliding_window_pattern=6)
    assert converted(tmp_path).read_bytes() == new


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "dynamic scaling": ("qwen2", {"rope_scaling": {"type": "dynamic", "factor": 2.0}}, "'dynamic' is not supported"),
    "llama3 scaling": ("qwen3", {"rope_parameters": {"rope_type": "llama3"}}, "default, linear or yarn"),
    "yarn in Gemma": ("gemma2", {"rope_parameters": YARN}, "default or linear"),
    "scaled layers with a window": ("gemma3", {"rope_parameters": {FULL: None, SLIDING: LINEAR}}, "'linear'"),
    "other betas": ("qwen2", {"rope_parameters": {**YARN, "beta_fast": 16}}, "llama.cpp computes with 32"),
    "yarn without rounding": ("qwen2", {"rope_parameters": {**YARN, "truncate": False}}, "always rounds"),
    "partly rotated": ("qwen2", {"partial_rotary_factor": 0.5}, "expected 1 for this family"),
    "bias of qwen3": ("qwen3", {"attention_bias": True}, "no bias of the attention's output"),
    "bias of gemma": ("gemma3", {"attention_bias": True}, "no bias of the attention's output"),
    "other activation": ("gemma2", {"hidden_activation": "gelu"}, "gemma2 has gelu_pytorch_tanh"),
    "yarn in Phi-3 by its new name": (
        "phi3",
        {"rope_parameters": {**YARN, "rope_type": "llama3"}},
        "default or longrope",
    ),
    "no cap": ("gemma2", {"final_logit_softcapping": None}, "always caps"),
    "capped attention": ("gemma3", {"attn_logit_softcapping": 50.0}, "does not cap attention"),
    "untied gemma2": ("gemma2", {"tie_word_embeddings": False}, "no output apart from the embedding"),
    "looks both ways": ("gemma3", {"use_bidirectional_attention": True}, "looks back only"),
    "unknown kind of layer": ("gemma3", {"layer_types": ["chunked_attention"] * 7}, "layer_types"),
    "too few kinds": ("gemma2", {"layer_types": [FULL]}, "expected 3 of"),
    "narrow heads of qwen2": ("qwen2", {"head_dim": 8}, "do not make hidden_size 64"),
    "factors of another head": ("phi3", {"rope_parameters": {**LONGROPE, "long_factor": [1.0]}}, "expected 8 numbers"),
    "factors below zero": ("phi3", {"rope_parameters": {**LONGROPE, "short_factor": [-1.0] * 8}}, "above 0"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_what_llama_cpp_computes_otherwise_is_refused(fault: str, tmp_path: Path) -> None:
    family, change, message = REFUSED[fault]
    make_checkpoint(tmp_path, family)
    edit_config(tmp_path, **change)
    with pytest.raises(ConversionError) as caught:
        convert(tmp_path, tmp_path / "out.gguf")
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "out.gguf").exists()


def make_model_that_sees(folder: Path) -> None:
    text = {**SHARED, **RECIPES["gemma3"].config, "num_hidden_layers": 6}
    vision = {
        "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1,
        "image_size": 28, "patch_size": 14,
    }  # fmt: skip
    config = transformers.Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4, **GEMMA_IDS)
    torch.manual_seed(0)
    save_model(transformers.Gemma3ForConditionalGeneration(config).eval(), folder, **STEEP)
    save_tokenizer(folder, "gemma3")


def as_published(name: str) -> str:
    return name.replace("model.language_model.", "language_model.model.").removeprefix("model.")


@pytest.mark.parametrize("renamed", [str, as_published], ids=["saved", "published"])
def test_the_language_model_of_a_model_that_sees_is_converted(renamed: Callable[[str], str], tmp_path: Path) -> None:
    make_model_that_sees(tmp_path)
    reference = load_reference(tmp_path)
    tensors = safetensors.load_file(tmp_path / "model.safetensors")
    safetensors.save_file({renamed(name): value for name, value in tensors.items()}, tmp_path / "model.safetensors")
    assert told(tmp_path, "outside the language model are left out, first")
    assert largest_difference(reference, converted(tmp_path)) <= BOUND


def test_a_pair_of_converted_models_answers(tmp_path: Path) -> None:
    """A drafter with windows and a base with fused matrices, handed over as text from one tokenizer to the other."""
    for family in ("gemma3", "phi3"):
        converted(make_checkpoint(tmp_path / family, family, **CASES[family]))
    settings = ModelSettings(threads=1, context_length=512)
    options = Options(max_tokens=60, threshold=0.0, window=3, chunk=4, speculation=False)
    with Pair.load(
        tmp_path / "gemma3/out.gguf", tmp_path / "phi3/out.gguf", drafter_settings=settings, base_settings=settings
    ) as pair:
        session = pair.session(options=options)
        first = session.ask("How do I list files by size? " * 3)
        second = session.ask("and by name?")
    assert first.switch is not None and {token.source for token in first.tokens} == {"drafter", "base"}
    assert second.stats.drafter_reused_tokens > 40 and second.stats.base_reused_tokens > 0


def test_a_wrong_size_in_a_fused_file_is_noticed_before_loading(tmp_path: Path) -> None:
    content = converted(make_checkpoint(tmp_path, "phi3")).read_bytes()
    for key, wrong in (("feed_forward_length", 97), ("rope.dimension_count", 18), ("attention.key_length", 8)):
        place = content.index(b"phi3." + key.encode()) + len(key) + 5
        assert content[place : place + 4] == b"\x04\0\0\0"  # an unsigned number of 32 bits
        damaged = content[: place + 4] + wrong.to_bytes(4, "little") + content[place + 8 :]
        (tmp_path / "damaged.gguf").write_bytes(damaged)
        with pytest.raises(ModelFileError):
            check_gguf(tmp_path / "damaged.gguf")


@pytest.mark.parametrize("case", ["gemma2", "gemma3", "phi3"])
def test_a_text_can_be_cut_back_and_continued(case: str, tmp_path: Path) -> None:
    make_checkpoint(tmp_path, case, **CASES[case])
    path, tokens = converted(tmp_path), random_tokens()
    settings = replace(EXACT, parallel=2)
    with Model.load(path, settings) as model, Context(model, settings, n_sequences=2) as context:
        straight = context.sequence().score(tokens[:200], tokens[200:]).logprobs
        cut = context.sequence()
        cut.score(tokens[:1], [*tokens[1:200], *tokens[:90]])
        cut.cut(100)
        again = cut.score(tokens[100:200], tokens[200:]).logprobs
    assert np.abs(np.array(straight) - np.array(again)).max() <= BOUND
