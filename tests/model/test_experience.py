"""What passes take is measured wherever they are made, and is known at the next start; texts do not depend on it."""

import time

import pytest

from edge_wsd.decoding.costs import Costs
from edge_wsd.disk_cache import CACHE_VARIABLE
from edge_wsd.llama.context import Context
from edge_wsd.pair import Pair
from tests.model.conftest import SETTINGS


@pytest.fixture
def load(files, tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    settings = {"drafter_settings": SETTINGS, "base_settings": SETTINGS}
    return lambda **how: Pair.load(files["drafter"], files["base"], **settings, **how)


def told(reply):
    return [(token.id, token.source) for token in reply.tokens]


@pytest.mark.parametrize("overlap", ["off", "on"])
def test_steps_in_native_code_are_measured_like_other_passes(load, monkeypatch, overlap):
    """They were taken behind the engine's back, and a drafter's step seemed never to have been made."""
    steps, measured = [], []
    went_on, took = Context.go_on, Costs.took
    monkeypatch.setattr(Context, "go_on", lambda *args: steps.append(n := went_on(*args)) or n)
    monkeypatch.setattr(Costs, "took", lambda *args: measured.append(args) or took(*args))
    runs, run = [], Context.run
    monkeypatch.setattr(Context, "run", lambda *args, **how: runs.append(1) or run(*args, **how))
    with load(overlap=overlap) as pair:
        pair.generate("hello", switch_at=3, propose=8, max_tokens=40)
    assert any(steps) and len(measured) == len(runs) + sum(n > 0 for n in steps)
    assert all(seconds > 0 for *_, seconds in measured)


def test_the_next_start_knows_what_the_last_one_measured(load, tmp_path):
    with load() as pair:
        assert not pair.loaded.experience.costs.are_known("base")
        for _ in range(4):
            pair.generate("hello", switch_at=3, max_tokens=40, stop_loops=False)
        known = pair.loaded.experience.snapshot()
    with load() as pair:
        assert pair.loaded.experience.snapshot() == known and pair.loaded.experience.costs.are_known("base")
    (tmp_path / "cache" / "experience.json").write_bytes(b"damaged")
    with load() as pair:
        assert not pair.loaded.experience.costs.are_known("base")
        assert pair.generate("hello", max_tokens=3).tokens


def test_it_is_remembered_while_nothing_is_asked(load, tmp_path, monkeypatch):
    """Not with every answer, and not only when the program ends: it may be killed."""
    monkeypatch.setattr("edge_wsd.engine.engine._IDLE_S", 0.01)
    with load() as pair:
        for _ in range(4):
            pair.generate("hello", switch_at=3, max_tokens=40, stop_loops=False)
        give_up_at = time.monotonic() + 60
        while not (tmp_path / "cache" / "experience.json").exists():
            assert time.monotonic() < give_up_at
            time.sleep(0.01)


def test_whatever_was_learnt_the_text_is_the_same(load, monkeypatch):
    options = {"max_tokens": 40, "window": 3, "threshold": 0.01}
    with load() as pair:
        plain = told(pair.generate("hello", speculation=False, chunk=1, **options))
        for _ in range(6):
            assert told(pair.generate("hello", **options)) == plain
    monkeypatch.setattr(Costs, "took", lambda *args: None)
    with load() as pair:
        assert told(pair.generate("hello", **options)) == plain
