"""A pair of tiny random models, for the tests of conversations and of pairs."""

import pytest

from edge_wsd import ModelSettings, Pair
from tests.tiny_models import TinyModel

SETTINGS = ModelSettings(context_length=512, threads=1)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pair")
    return {
        "drafter": TinyModel(seed=1, scale=0.4).write(folder / "drafter.gguf"),
        "base": TinyModel(seed=2, scale=0.4, chat_template=None).write(folder / "base.gguf"),
        "other": TinyModel(seed=3, scale=0.4, words=("he", "lp", "ful")).write(folder / "other.gguf"),
    }


@pytest.fixture(scope="module")
def pair(files):
    with Pair.load(files["drafter"], files["base"], drafter_settings=SETTINGS, base_settings=SETTINGS) as pair:
        yield pair
