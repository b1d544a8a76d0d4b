"""The steps of scripts/bench_gpu.py that make pairs and measure them, over tiny models and on the processor."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from scripts.gpu import measuring, pairs
from scripts.gpu.measuring import Sizes, measure, overlap, signal
from scripts.gpu.pairs import CPU_PAIRS, make_pairs, set_agreement
from scripts.gpu.report import report
from scripts.gpu.workplace import Workplace

PAIR = CPU_PAIRS[0]
SIZES = Sizes(prompt=40, answer=40, at_once=(1, 2), repetitions=1, gpu_layers=0)


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setattr(Workplace, "python", Path(sys.executable))
    for module in (measuring, pairs):
        monkeypatch.setattr(module, "AGREEMENTS", (0.8,))
    return Workplace(tmp_path / "work", minutes=10)


@pytest.mark.slow
def test_a_pair_is_made_measured_and_reported(place, tmp_path, capsys):
    make_pairs(place, CPU_PAIRS, tmp_path)
    base = tmp_path / PAIR.name / "base.gguf"
    calibrated = base.read_bytes()
    assert place.read(f"pair {PAIR.name}")["0.8"]["agreement"] == pytest.approx(0.8, abs=0.02)
    for step in (measure, overlap, signal):
        step(place, CPU_PAIRS, tmp_path, SIZES)
    cells = place.read("bench")
    assert list(cells) == [f"{PAIR.name} 0.8 1", f"{PAIR.name} 0.8 2"]
    for cell in cells.values():
        assert min(cell[key] for key in ("base_s", "plain_s", "wsd_s", "wsd_first_s", "wsd_tokens_per_s")) > 0
        assert cell["wsd_first_s"] < cell["wsd_s"]
    assert place.read("overlap")[PAIR.name].keys() == {"off", "on"}
    assert "step" in place.read("signal")
    assert base.read_bytes() == calibrated, "the noise that was found is what was measured with"
    report(place, "no GPU")
    assert f"{PAIR.name} at 80 %: first token" in capsys.readouterr().out


def test_what_is_done_is_not_done_again(place, tmp_path, monkeypatch):
    make_pairs(place, CPU_PAIRS, tmp_path)
    place.write("bench", {f"{PAIR.name} 0.8 2": {}})
    place.write("overlap", {PAIR.name: {}})
    place.write("signal", "")
    monkeypatch.setattr(Workplace, "run", lambda *_, **__: pytest.fail("something was run"))
    make_pairs(place, CPU_PAIRS, tmp_path)
    for step in (measure, overlap, signal):
        step(place, CPU_PAIRS, tmp_path, SIZES)


def test_without_a_pair_the_line_says_what_to_run_first(place, tmp_path):
    with pytest.raises(SystemExit, match=r"run the step pairs first"):
        set_agreement(place, PAIR, tmp_path, 0.8)
