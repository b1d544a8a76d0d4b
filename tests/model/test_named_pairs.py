"""Pairs of the library by their name: templates and options come from the file, and what is given wins."""

from __future__ import annotations

import pytest

from edge_wsd import ModelSettings, Pair
from edge_wsd.errors import PairsFileError, StoreError
from tests.tiny_models import TinyModel

ONE_THREAD = {"drafter_settings": ModelSettings(threads=1), "base_settings": ModelSettings(threads=1)}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGE_WSD_PAIRS", str(tmp_path / "pairs.toml"))
    monkeypatch.setenv("EDGE_WSD_STORE", str(tmp_path / "store"))
    TinyModel(chat_template=None).write(tmp_path / "d.gguf")
    TinyModel(seed=1).write(tmp_path / "b.gguf")
    text = 'drafter = "d.gguf"\nbase = "b.gguf"\ndrafter_template = "plain"\nwindow = 3\n'
    (tmp_path / "pairs.toml").write_text(f"[pairs.mine]\n{text}")
    return tmp_path


def test_a_named_pair_has_its_own_options_where_none_are_given(folder):
    with Pair.named("mine", **ONE_THREAD) as pair:
        assert pair.name == "mine" and pair.drafter.template.name == "plain"
        assert pair.session().options.window == 3 and pair.session().options.threshold == 0.8
        reply = pair.generate("list size", max_tokens=4, switch_at=2)
        assert 1 <= len(reply.tokens) <= 4


def test_what_is_given_wins_over_the_pair(folder):
    (folder / "t.jinja").write_text("{{ messages[0].content }}")
    with Pair.named("mine", drafter_template=str(folder / "t.jinja"), **ONE_THREAD) as pair:
        assert pair.drafter.template.name == str(folder / "t.jinja")
        assert pair.session(options=pair.options.with_changes(window=2)).options.window == 2


def test_a_named_pair_is_never_downloaded(folder):
    with pytest.raises(StoreError, match="edge-wsd pull songff/Pilot-3B:Q8_0"):
        Pair.named("pilot-llama-8b")
    with pytest.raises(PairsFileError, match="known pairs: mine, demo"):
        Pair.named("nope")
