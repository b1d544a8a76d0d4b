"""`edge-wsd plan`: its table, its object, its exit codes, and that `run` tells what gave way."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from edge_wsd.cli import main
from edge_wsd.cli.main import cli
from edge_wsd.cli.pair_choice import PairChoice
from edge_wsd.cli.ui.rows import table_lines
from edge_wsd.errors import StoreError
from edge_wsd.llama.library import Device
from edge_wsd.llama.settings import ModelSettings
from edge_wsd.models.pairs.built_in import BUILT_IN_PAIRS
from edge_wsd.models.plan.machine import Machine

GIB = 1 << 30


@pytest.fixture
def planned(monkeypatch, tmp_path):
    """Runs `edge-wsd plan` on a machine that is made up."""
    monkeypatch.setenv("EDGE_WSD_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("EDGE_WSD_PAIRS", str(tmp_path / "pairs.toml"))

    def run(*arguments, host=64, gpu=None):
        devices = [Device(0, "CUDA0", "made up", "gpu", gpu * GIB, gpu * GIB)] if gpu else []
        devices.append(Device(1, "CPU", "made up", "cpu", host * GIB, host * GIB))
        monkeypatch.setattr(Machine, "this", classmethod(lambda cls: cls.of(devices)))
        return CliRunner().invoke(cli, ["plan", *arguments], prog_name="edge-wsd")

    return run


def test_the_demo_pair_fits_here(program):
    done = program("plan")
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout.splitlines()[-1] == "verdict: fits"


def test_the_columns_of_the_table_are_aligned(planned):
    lines = planned("pilot-llama-8b", gpu=24).stdout.splitlines()
    table = lines[: lines.index("")]
    assert [line.split()[0] for line in table] == ["device", "drafter", "CUDA0", "base", "CUDA0"]
    assert len({len(line) for line in table}) == 1


def test_the_sums_of_the_object_are_those_of_the_table(planned):
    told = json.loads(planned("pilot-llama-8b", "--json", gpu=24).stdout)
    for device in told["devices"]:
        parts = [model["bytes"].get(device["name"], {"total": 0})["total"] for model in told["models"].values()]
        assert device["used_bytes"] == sum(parts)


def test_the_flags_put_the_pair_in_the_same_place(planned):
    asked = ("--kv-type", "q8_0", "--no-base-mmap", "--drafter-batch", "256")
    auto = json.loads(planned("pilot-llama-8b", "--json", *asked, gpu=8).stdout)
    by_hand = json.loads(planned("pilot-llama-8b", "--json", *auto["flags"].split(), gpu=8).stdout)
    assert by_hand["models"] == auto["models"] and by_hand["devices"] == auto["devices"]


def test_what_gives_way_is_said(planned):
    done = planned("pilot-llama-8b", gpu=8)
    assert done.exit_code == 0
    assert re.search(r"^gives way: \d+ of the base's 33 layers stay on the host", done.stdout, re.MULTILINE)


def test_a_context_beyond_the_training_is_warned_of(planned):
    done = planned("pilot-gemma-9b", "--ctx", "32768", "--json")
    assert done.stderr == "warning: --ctx 32768: the base was trained with 8192 tokens and may fail beyond them\n"
    assert json.loads(done.stdout)["verdict"] == "fits"


def test_a_pair_that_does_not_fit_ends_with_one_line_that_names_a_type(planned):
    done = planned("pilot-llama-70b", "--no-mmap", host=40)
    assert done.exit_code == 1
    (line,) = done.stderr.splitlines()
    assert re.search(r"the host is [\d.]+ GiB short of memory; the base as Q\w+ \([\d.]+ GiB\) would fit$", line)


def test_the_type_of_a_model_that_is_not_here_can_be_chosen(planned):
    small, large = (
        json.loads(planned("pilot-llama-8b", "--base-type", type_, "--json").stdout)["models"]["base"]["bytes"]["CPU"]
        for type_ in ("q3_k_m", "Q8_0")
    )
    assert small["weights"] < large["weights"] and small["kv_cache"] == large["kv_cache"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nope"], 1, "there is no pair named 'nope'"),
        (["--drafter", "a.gguf"], 2, "--base MODEL is missing"),
        (["--base-type", "Q9"], 2, "type 'Q9' is unknown"),
        (["--drafter", "none.gguf", "--base", "none.gguf"], 1, "none.gguf: no such file"),
        (["--main-gpu", "x"], 2, "'x' is not a valid integer"),
        (["--gpu-layers", "most"], 2, "'most' is neither a number nor 'auto'"),
        (["--gpu-layers", "-2"], 2, "--gpu-layers must be auto, -1 (all) or the number of layers, not -2"),
    ],
)
def test_wrong_use_ends_in_one_line(capsys, arguments, code, message):
    assert main.run(["plan", *arguments]) == code
    told = capsys.readouterr().err
    assert message in told and len(told.splitlines()) == 1


def test_a_model_that_is_not_here_may_be_named_as_for_a_pull(planned):
    models = ("--drafter", "songff/Pilot-3B:q8_0", "--base", "meta-llama/Llama-3.1-8B")
    told = json.loads(planned(*models, "--json").stdout)["models"]
    assert [model["name"] for model in told.values()] == ["songff/Pilot-3B:Q8_0", "meta-llama/Llama-3.1-8B:Q4_K_M"]
    unknown = planned("--drafter", "someone/else:Q8_0", "--base", "meta-llama/Llama-3.1-8B")
    assert isinstance(unknown.exception, StoreError) and "edge-wsd pull someone/else" in str(unknown.exception)


def test_run_tells_what_gave_way():
    notes = SimpleNamespace(notes=("the context is shorter",))
    pair = SimpleNamespace(about=lambda _source: SimpleNamespace(n_ctx_train=512), plan=notes)
    settings = {f"{role}_settings": ModelSettings() for role in ("drafter", "base")}
    assert PairChoice(BUILT_IN_PAIRS["demo"], settings).warnings(pair) == ["the context is shorter"]


def test_words_stand_left_and_numbers_right():
    assert table_lines([("", "device", "n"), ("a", "b", "10")], words=(0, 1)) == ["   device   n", "a  b       10"]
