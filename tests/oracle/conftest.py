"""The demonstration pair in 32-bit floats, run by the runtime and by transformers.

EDGE_WSD_ORACLE_PAIR=FOLDER compares another pair: drafter.gguf, base.gguf and drafter-other.gguf in that folder.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import edge_wsd.demo
from edge_wsd import Pair
from edge_wsd.llama.settings import ModelSettings
from tests.devices import GPU_LAYERS

if TYPE_CHECKING:  # they need torch, which is an extra
    from tests.oracle.published import Answer
    from tests.oracle.torch_model import TorchModel

VOCABULARIES = {"same": "drafter", "different": "drafter-other"}
# With a half-precision cache or flash attention logits are off by some thousandths; like this by some millionths.
EXACT = ModelSettings(gpu_layers=GPU_LAYERS, threads=1, kv_type="f32", flash_attention="off", context_length=1024)


@pytest.fixture(scope="session")
def folder() -> Path:
    return Path(os.environ.get("EDGE_WSD_ORACLE_PAIR") or Path(edge_wsd.demo.__file__).parent)


@pytest.fixture(scope="session")
def float_model(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Path of drafter, base or drafter-other in F32."""
    from tests.oracle.float_gguf import write_float_gguf

    target = tmp_path_factory.mktemp("float")

    def find(name: str) -> Path:
        path = target / f"{name}.gguf"
        return path if path.exists() else write_float_gguf(folder / path.name, path)

    return find


@pytest.fixture(scope="session")
def pairs(float_model: Callable[[str], Path]) -> Iterator[dict[str, Pair]]:
    """The runtime under test, by kind of vocabulary."""
    loaded = {
        vocabulary: Pair.load(float_model(drafter), float_model("base"), drafter_settings=EXACT, base_settings=EXACT)
        for vocabulary, drafter in VOCABULARIES.items()
    }
    yield loaded
    for pair in loaded.values():
        pair.close()


@pytest.fixture(scope="session")
def torch_model(float_model: Callable[[str], Path]) -> Iterator[Callable[[str], TorchModel]]:
    """drafter, base or drafter-other run by transformers, each loaded once."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from tests.oracle.torch_model import TorchModel

    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield cache(lambda name: TorchModel(float_model(name)))
    torch.set_num_threads(n_threads)


@pytest.fixture(scope="session")
def oracle(torch_model: Callable[[str], TorchModel]) -> dict[str, dict[str, Answer]]:
    """Answers of the published algorithm, by kind of vocabulary and name of the case; computed once."""
    from tests.oracle.cases import CASES
    from tests.oracle.published import answers

    base = torch_model("base")
    return {vocabulary: answers(torch_model(drafter), base, CASES) for vocabulary, drafter in VOCABULARIES.items()}
