"""A user without a home folder, as in containers and services: each of these was an internal error."""

import os
from pathlib import Path

import pytest

from edge_wsd.disk_cache import cache_file
from edge_wsd.errors import PairsFileError, StoreError
from edge_wsd.models.pairs.file import Pairs, PairsFile
from edge_wsd.models.pairs.named_pair import NamedPair
from edge_wsd.models.probe.cache import ProbeCache
from edge_wsd.models.store.local import Store

pwd = pytest.importorskip("pwd", reason="homes are looked up otherwise on Windows")


@pytest.fixture
def no_home(monkeypatch):
    def unknown(*_):
        raise KeyError("uid not found")

    for name in os.environ:
        if name.startswith(("XDG_", "EDGE_WSD_")) or name == "HOME":
            monkeypatch.delenv(name)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setattr(pwd, "getpwnam", unknown)


def test_who_has_no_home_has_no_pairs_and_is_told_where_to_put_one(no_home, tmp_path):
    assert PairsFile().read() == Pairs()
    pair = NamedPair("x", drafter=str(tmp_path / "d.gguf"), base=str(tmp_path / "b.gguf"))
    for change in (lambda: PairsFile().add(pair), lambda: PairsFile().set_default("demo")):
        with pytest.raises(PairsFileError, match=r"no folder for your pairs: .*set HOME, or EDGE_WSD_PAIRS"):
            change()


def test_a_store_without_a_place_is_told_in_a_line(no_home):
    with pytest.raises(StoreError, match=r"no folder for the store: .*set HOME, or EDGE_WSD_STORE"):
        Store()


def test_nothing_is_remembered_and_nothing_fails(no_home):
    assert cache_file("kernels.json") is None
    cache = ProbeCache()
    cache.add("model.gguf", "stamp")
    assert not cache.holds("model.gguf", "stamp")


@pytest.mark.parametrize("variable", ["EDGE_WSD_PAIRS", "EDGE_WSD_STORE"])
def test_the_home_of_nobody_is_no_place(monkeypatch, variable):
    monkeypatch.setenv(variable, "~nobody-of-this-name/x")
    with pytest.raises((PairsFileError, StoreError), match=variable):
        PairsFile().read() if variable == "EDGE_WSD_PAIRS" else Store()


def test_a_template_below_the_home_of_nobody_stays_as_it_is_written():
    pair = NamedPair(
        "x", drafter="d.gguf", base="b.gguf", drafter_template="~nobody-of-this-name/t", base_template="~/t"
    )
    assert pair.templates == {"drafter_template": "~nobody-of-this-name/t", "base_template": str(Path.home() / "t")}


def test_a_home_that_is_no_folder_holds_no_pairs():
    """The home of many services is /dev/null; reading its file failed for the demonstration pair too."""
    assert PairsFile(Path(os.devnull) / ".config" / "pairs.toml").read() == Pairs()
