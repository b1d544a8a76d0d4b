"""What passes cost and how proposals fared is there again at the next start, for the same files and settings alone."""

import json
import logging

import pytest

from edge_wsd.decoding.acceptance import Acceptance
from edge_wsd.decoding.ahead import Switches
from edge_wsd.decoding.experience import Experience
from edge_wsd.disk_cache import CACHE_VARIABLE
from edge_wsd.engine.remembered import Remembered
from edge_wsd.llama.settings import ModelSettings


@pytest.fixture
def models(tmp_path):
    for name in ("drafter", "base"):
        (tmp_path / name).write_bytes(b"weights")
    return [(tmp_path / "drafter", ModelSettings()), (tmp_path / "base", ModelSettings(threads=1))]


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache" / "experience.json"


def learn(experience):
    for _ in range(4):
        for source, n in (("drafter", 1), ("base", 1), ("base", 4)):
            experience.costs.took(source, n_tokens=n, n_rows=n, n_replies=1, seconds=0.5 * n)
    experience.proposals["drafter"].acceptance.count([0.9] * 50, 40)
    experience.proposals["ngram"].acceptance.count([0.5] * 50, 10)
    experience.switches.count(30, switched=True)


def used_once(models):
    remembered = Remembered(models)
    learn(remembered.experience)
    remembered.save()
    return remembered


def test_the_next_start_knows_what_was_learnt(models, file):
    assert not Remembered(models).experience.costs.are_known("base")
    before = used_once(models).experience
    after = Remembered(models).experience
    assert after.snapshot() == before.snapshot()
    assert [after.costs.pass_s("base", n) for n in (1, 4)] == [0.5, 2.0]
    for name in ("drafter", "ngram"):
        assert after.proposals[name].acceptance.mean == before.proposals[name].acceptance.mean
    assert after.switches.chance == before.switches.chance


def test_other_settings_and_other_files_are_measured_anew(models, file):
    used_once(models)
    drafter, base = models
    others = [drafter, (base[0], ModelSettings(threads=2))]
    assert not Remembered(others).experience.costs.are_known("base")
    base[0].write_bytes(b"other weights")
    assert not Remembered(models).experience.costs.are_known("base")


def damaged():
    learnt = Experience()
    learn(learnt)
    whole = learnt.snapshot()
    for name in whole:
        yield {key: value for key, value in whole.items() if key != name}
        for wrong in (None, [], {}, 3, "x", [float("nan")] * 2):
            yield {**whole, name: wrong}
    for curves in ({}, {"base": [], "drafter": {}}, {"base": {"0": 1.0}, "drafter": {}}, {"base": {"x": 1.0}}):
        yield {**whole, "costs": {"curves": curves, "read_s": 0.0}}
    for seconds in (-1.0, 0.0, float("nan"), float("inf"), 10**400, None, [1.0]):
        yield {**whole, "costs": {"curves": {"base": {"1": seconds}, "drafter": {}}, "read_s": 0.0}}
        yield {**whole, "switches": [seconds, 1.0]} if seconds != 0.0 else {}
    for counts in ([1.0] * 4, [-1.0] * 5, [float("inf")] * 5, [9.0] * 5, "12345"):
        acceptance = {**Acceptance().snapshot(), "accepted": counts}
        yield {**whole, "acceptance": {"drafter": acceptance, "ngram": acceptance}}


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, *map(json.dumps, damaged())])
def test_a_damaged_entry_is_as_good_as_none_and_the_user_is_not_told(models, file, text, caplog):
    used_once(models)
    entries = json.loads(file.read_text())
    entries["pairs"] = dict.fromkeys(entries["pairs"], text)
    file.write_text(json.dumps(entries))
    with caplog.at_level(logging.INFO):
        assert Remembered(models).experience.snapshot() == Experience().snapshot()
    assert not caplog.records


def test_a_damaged_file_is_as_good_as_none_and_the_user_is_not_told(models, file, caplog):
    used_once(models)
    file.write_bytes(b"\xff{")
    with caplog.at_level(logging.INFO):
        remembered = Remembered(models)
        learn(remembered.experience)
        remembered.save()
    assert not caplog.records
    assert Remembered(models).experience.costs.are_known("base")


def test_what_is_not_known_and_what_is_known_already_are_not_written(models, file):
    Remembered(models).save()
    assert not file.exists()
    remembered = used_once(models)
    file.unlink()
    remembered.save()
    assert not file.exists()


def test_counts_of_switches_are_bounded():
    switches = Switches()
    for _ in range(5000):
        switches.count(10, switched=True)
    assert Switches.of(switches.snapshot()).chance == switches.chance == pytest.approx(0.1, rel=0.05)
