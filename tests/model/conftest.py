"""A pair of tiny random models, for the tests of conversations and of pairs; a store for those of pulling."""

import threading

import pytest

from edge_wsd import ModelSettings, Pair
from edge_wsd.llama.context import Context
from edge_wsd.models.store.hub import Hub
from edge_wsd.models.store.hub_errors import RetryPolicy
from edge_wsd.models.store.local import Store
from edge_wsd.pull import pull
from tests.tiny_hub import NAME
from tests.tiny_models import DEFAULT_WORDS, Chanting, TinyModel

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


@pytest.fixture
def held_back(monkeypatch):
    """Nothing is decoded before this event is set."""
    may_run, run = threading.Event(), Context.run

    def waiting(*arguments):
        may_run.wait()
        run(*arguments)

    monkeypatch.setattr(Context, "run", waiting)
    yield may_run
    may_run.set()


@pytest.fixture(scope="module", params=["same", "different"])
def chanting(request, tmp_path_factory):
    """A drafter and a base that say the same for ever, in the same vocabulary and in different ones."""
    folder = tmp_path_factory.mktemp("chanting")
    words = ("he", "lp", "ful") if request.param == "different" else DEFAULT_WORDS
    drafter = Chanting(words=words, n_embd=64).write(folder / "drafter.gguf")
    base = Chanting(chat_template=None, n_embd=64).write(folder / "base.gguf")
    settings = ModelSettings(context_length=1024, threads=1)
    with Pair.load(drafter, base, drafter_settings=settings, base_settings=settings) as pair:
        assert pair.vocabulary.same == (request.param == "same")
        yield pair


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def get(server, store):
    """Pulls that give up soon: `get("owner/repo:TYPE", token="...")`."""

    def run(name=NAME, *, token=None, **how):
        retries = RetryPolicy(tries=3, first_wait_s=0.01, silence_s=5)
        return pull(name, store=store, hub=Hub(endpoint=server.url, token=token, retries=retries), **how)

    return run
