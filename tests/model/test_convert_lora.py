"""LoRA adapters merged while converting, against the same merge done on the model of transformers."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.numpy")

from edge_wsd.converters import convert, verify  # noqa: E402
from edge_wsd.errors import ConversionError  # noqa: E402
from tests.agreement import largest_difference  # noqa: E402
from tests.checkpoints import load_reference, make_checkpoint  # noqa: E402

BOUND = 1e-4
PREFIX = "base_model.model."
EMBEDDING = "model.embed_tokens"
STEEP = {"gate_scale": 1e5}
RANK, ALPHA = 3, 5.0


class Adapter:
    """Random updates of modules of `model`, saved as PEFT saves them and added to `model` by hand."""

    def __init__(self, folder: Path, model: Any, seed: int = 0, **config: Any) -> None:
        self.folder, self.model = folder, model
        self.draw = np.random.default_rng(seed)
        self.config = {"peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA, "bias": "none", **config}
        self.tensors: dict[str, np.ndarray] = {}

    def update(self, module: str, scale: float = ALPHA / RANK, rank: int = RANK) -> None:
        weight = self.model.get_submodule(module).weight
        rows, columns = weight.shape
        down, up = self._random(rank, columns), self._random(rows, rank)
        if module == EMBEDDING:
            self.tensors[f"{PREFIX}{module}.lora_embedding_A"] = np.ascontiguousarray(up.T)
            self.tensors[f"{PREFIX}{module}.lora_embedding_B"] = np.ascontiguousarray(down.T)
        else:
            self.tensors[f"{PREFIX}{module}.lora_A.weight"] = down
            self.tensors[f"{PREFIX}{module}.lora_B.weight"] = up
        with torch.no_grad():
            weight.add_(scale * (torch.from_numpy(up).double() @ torch.from_numpy(down).double()).float())

    def replace(self, module: str) -> None:
        weight = self.model.get_submodule(module).weight
        values = self._random(*weight.shape)
        self.tensors[f"{PREFIX}{module}.weight"] = values
        with torch.no_grad():
            weight.copy_(torch.from_numpy(values))

    def save(self) -> Path:
        self.folder.mkdir(exist_ok=True)
        safetensors.save_file(self.tensors, self.folder / "adapter_model.safetensors")
        (self.folder / "adapter_config.json").write_text(json.dumps(self.config))
        return self.folder

    def _random(self, *shape: int) -> np.ndarray:
        return (0.1 * self.draw.standard_normal(shape)).astype(np.float32)


def base(folder: Path, family: str = "llama", **changes: Any) -> tuple[Path, Any]:
    path = make_checkpoint(folder / "base", family, **changes)
    return path, load_reference(path)


def untie(model: Any) -> None:
    """Gives the output its own copy of the weights, as an adapter of one of the two makes it."""
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())


MODULES = {
    "llama": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.down_proj"),
    "qwen2": ("self_attn.q_proj", "self_attn.v_proj", "mlp.gate_proj"),
    "gemma2": ("self_attn.q_proj", "mlp.up_proj"),
    "gemma3": ("self_attn.k_proj", "mlp.down_proj"),
    "phi3": ("self_attn.qkv_proj", "mlp.gate_up_proj"),
}


@pytest.mark.parametrize("family", MODULES)
def test_the_merged_file_computes_what_the_merged_model_computes(family: str, tmp_path: Path) -> None:
    path, model = base(tmp_path, family, **(STEEP if "gemma" in family else {}))
    adapter = Adapter(tmp_path / "adapter", model)
    for module in MODULES[family]:
        adapter.update(f"model.layers.1.{module}")
    convert(path, tmp_path / "out.gguf", type="F32", lora=adapter.save())
    assert largest_difference(model, tmp_path / "out.gguf") <= BOUND
    convert(path, tmp_path / "plain.gguf", type="F32")
    assert largest_difference(model, tmp_path / "plain.gguf") > 10 * BOUND


def test_ranks_and_scales_follow_the_config(tmp_path: Path) -> None:
    path, model = base(tmp_path)
    adapter = Adapter(
        tmp_path / "adapter", model, use_rslora=True,
        rank_pattern={"layers.1.self_attn.q_proj": 5}, alpha_pattern={"q_proj": 2.0, "^model.layers.0.mlp.up_proj": 9},
    )  # fmt: skip
    adapter.update("model.layers.1.self_attn.q_proj", scale=2.0 / math.sqrt(5), rank=5)
    adapter.update("model.layers.0.mlp.up_proj", scale=9 / math.sqrt(RANK))
    adapter.update("model.layers.1.mlp.up_proj", scale=ALPHA / math.sqrt(RANK))
    convert(path, tmp_path / "out.gguf", type="F32", lora=adapter.save())
    assert largest_difference(model, tmp_path / "out.gguf") <= BOUND


def test_embeddings_and_whole_modules_are_merged(tmp_path: Path) -> None:
    path, model = base(tmp_path, dtype="bfloat16")
    adapter = Adapter(tmp_path / "adapter", model, modules_to_save=["lm_head"])
    adapter.update(EMBEDDING)
    adapter.replace("lm_head")
    convert(path, tmp_path / "out.gguf", type="F32", lora=adapter.save())
    assert largest_difference(model, tmp_path / "out.gguf") <= BOUND


@pytest.mark.parametrize("module", [EMBEDDING, "lm_head"])
def test_an_adapter_of_one_of_two_tied_tensors_unties_them(module: str, tmp_path: Path) -> None:
    path, model = base(tmp_path, "qwen2", tie_word_embeddings=True)
    untie(model)
    adapter = Adapter(tmp_path / "adapter", model)
    adapter.update(module)
    convert(path, tmp_path / "out.gguf", type="F32", lora=adapter.save())
    assert largest_difference(model, tmp_path / "out.gguf") <= BOUND


def test_an_adapter_that_ties_leaves_one_tensor(tmp_path: Path) -> None:
    path, model = base(tmp_path, "gemma2", **STEEP)
    adapter = Adapter(tmp_path / "adapter", model, ensure_weight_tying=True)
    adapter.update(EMBEDDING)
    convert(path, tmp_path / "out.gguf", type="F32", lora=adapter.save())
    assert largest_difference(model, tmp_path / "out.gguf") <= BOUND
    adapter.config["ensure_weight_tying"] = False
    with pytest.raises(ConversionError, match="keeps as one tensor"):
        convert(path, tmp_path / "other.gguf", lora=adapter.save())


def test_two_adapters_add_up(tmp_path: Path) -> None:
    path, model = base(tmp_path)
    adapters = [Adapter(tmp_path / f"adapter{seed}", model, seed) for seed in (1, 2)]
    for adapter in adapters:
        adapter.update("model.layers.0.self_attn.q_proj")
    convert(path, tmp_path / "out.gguf", type="F32", lora=[adapter.save() for adapter in adapters])
    assert largest_difference(model, tmp_path / "out.gguf") <= BOUND


def test_another_base_is_told(tmp_path: Path) -> None:
    path, model = base(tmp_path)
    adapter = Adapter(tmp_path / "adapter", model, base_model_name_or_path="someone/Other-8B", fan_in_fan_out=True)
    adapter.update("lm_head")
    notes = " ".join(convert(path, tmp_path / "out.gguf", lora=adapter.save()).notes)
    assert "trained on 'someone/Other-8B'" in notes and "fan_in_fan_out" in notes
    adapter.config.update(base_model_name_or_path="someone/Base", fan_in_fan_out=False)
    again = convert(path, tmp_path / "out.gguf", lora=adapter.save(), force=True)
    assert not any("adapter" in note for note in again.notes)


OPTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "DoRA": ({"use_dora": True}, "DoRA"),
    "another method": ({"peft_type": "IA3"}, "'IA3', only LORA"),
    "biases": ({"bias": "lora_only"}, "trains biases"),
    "inner bias": ({"lora_bias": True}, "a bias inside"),
    "copied layers": ({"layer_replication": [[0, 1], [0, 1]]}, "several times"),
    "changed base": ({"init_lora_weights": "pissa"}, "changes the base"),
    "a pattern that is an expression": ({"rank_pattern": {"(a+)+b": 3}}, "expected the name of a module"),
    "no strength": ({"lora_alpha": 0}, "lora_alpha is 0"),
    "another rank": ({"r": 4}, "the factors of 'lm_head' have shapes"),
}


@pytest.mark.parametrize("fault", OPTIONS)
def test_what_is_no_plain_lora_is_refused_by_name(fault: str, tmp_path: Path) -> None:
    path, model = base(tmp_path)
    adapter = Adapter(tmp_path / "adapter", model, **OPTIONS[fault][0])
    adapter.update("lm_head")
    with pytest.raises(ConversionError) as caught:
        convert(path, tmp_path / "out.gguf", lora=adapter.save())
    assert OPTIONS[fault][1] in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "out.gguf").exists()


TENSORS: dict[str, tuple[str, tuple[int, ...], str]] = {
    "no home": ("model.layers.7.mlp.up_proj.weight", (96, 64), "that its base does not have"),
    "half a pair": ("model.layers.0.mlp.up_proj.lora_A.weight", (RANK, 64), "has A, expected A and B"),
    "magnitudes": ("lm_head.lora_magnitude_vector", (800,), "DoRA's magnitudes"),
    "resized": ("model.embed_tokens.weight", (801, 64), "the vocabulary was resized"),
    "bias": ("lm_head.lora_B.bias", (800,), "no part of a plain LoRA"),
}


@pytest.mark.parametrize("fault", TENSORS)
def test_a_tensor_without_a_place_stops_the_conversion(fault: str, tmp_path: Path) -> None:
    path, model = base(tmp_path)
    adapter = Adapter(tmp_path / "adapter", model)
    adapter.update("lm_head")
    name, shape, message = TENSORS[fault]
    adapter.tensors[PREFIX + name] = np.ones(shape, np.float32)
    with pytest.raises(ConversionError, match=message):
        convert(path, tmp_path / "out.gguf", lora=adapter.save())


def test_keys_of_another_format_and_pickles_are_refused(tmp_path: Path) -> None:
    path, model = base(tmp_path)
    adapter = Adapter(tmp_path / "adapter", model)
    adapter.tensors = {"lora.down": np.ones((1, 1), np.float32)}
    with pytest.raises(ConversionError, match=r"'lora\.down', expected base_model\.model"):
        convert(path, tmp_path / "out.gguf", lora=adapter.save())
    (adapter.folder / "adapter_model.safetensors").rename(adapter.folder / "adapter_model.bin")
    with pytest.raises(ConversionError, match="runs code of the file"):
        convert(path, tmp_path / "out.gguf", lora=adapter.folder)
    with pytest.raises(ConversionError, match="not a PEFT adapter"):
        convert(path, tmp_path / "out.gguf", lora=path)


def test_an_adapter_in_place_of_a_checkpoint_says_how_to_use_it(tmp_path: Path) -> None:
    _, model = base(tmp_path)
    adapter = Adapter(tmp_path / "adapter", model, base_model_name_or_path="someone/base")
    adapter.update("lm_head")
    with pytest.raises(ConversionError, match=r"LoRA adapter of 'someone/base'.*--lora"):
        convert(adapter.save(), tmp_path / "out.gguf")


def test_a_merged_file_is_verified_with_its_adapter_and_fails_without_it(tmp_path: Path) -> None:
    path, model = base(tmp_path, tie_word_embeddings=True)
    untie(model)
    adapter = Adapter(tmp_path / "adapter", model)
    adapter.update("model.layers.0.self_attn.q_proj")
    adapter.update("lm_head")
    convert(path, tmp_path / "merged.gguf", type="F32", lora=adapter.save())
    given = {"texts": ["The adapter was merged on the way."], "threads": 1}
    assert verify(path, tmp_path / "merged.gguf", lora=adapter.folder, **given).holds
    (failure,) = verify(path, tmp_path / "merged.gguf", **given).failures
    assert failure.startswith("logits")
