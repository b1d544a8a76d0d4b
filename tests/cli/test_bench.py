"""`edge-wsd bench`: tables, objects, pictures, exit codes, over the demonstration pair."""

import csv
import errno
import io
import json
import os
import re
import shutil
import sys
import time
from types import SimpleNamespace

import pytest

from edge_wsd import pictures
from edge_wsd.bench.cases import BenchCase, Workload
from edge_wsd.bench.measure import PairBench
from edge_wsd.cli.main import run
from edge_wsd.demo.files import base_path, drafter_path
from edge_wsd.llama.binding import llama_cpp
from edge_wsd.llama.context import Context
from edge_wsd.llama.onward import NativeSteps
from edge_wsd.pair import Pair

SHORT = ("-p", "16", "-n", "8", "-r", "1", "-q", "--threads", "1")


@pytest.fixture
def bench(monkeypatch, tmp_path, capfd):
    """The command in this process, in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def start(*arguments):
        capfd.readouterr()
        code = run(["bench", *arguments])
        printed = capfd.readouterr()
        return SimpleNamespace(code=code, out=printed.out, err=printed.err)

    return start


def test_an_object_has_every_row_and_where_it_was_measured(bench):
    done = bench("demo", *SHORT, "--json", "--switch-at", "3,never")
    assert done.code == 0 and done.err == ""
    found = json.loads(done.out)
    assert found["machine"]["processor"] and found["machine"]["llama_cpp"]
    assert 0 <= found["pairs"][0]["agreement"] <= 1
    rows = [(row["name"], row["switch_at"]) for row in found["rows"]]
    assert rows == [("base", None), ("drafter", None), ("wsd k=0", "3"), ("wsd k=auto", "3"), ("wsd", "never")]
    for row in found["rows"]:
        figures = row["repetitions"][0]
        assert figures["answer_s"] >= figures["ttft_s"] > 0 and 0 < figures["n_tokens"] <= 8 and figures["host_ms"] > 0
        if row["name"] != "wsd":  # where the switch never comes, the end may come before the base has read anything
            assert (figures["base_passes"] is None) == (row["name"] == "drafter")
        assert (figures["drafter_prompt_tps"] is None) == (row["name"] == "base")
    medians = {row["name"]: row["median"] for row in found["rows"]}
    assert medians["base"]["base_passes"] >= medians["base"]["n_tokens"] - 1
    assert medians["wsd k=0"]["accepted"] is None


def slowed(whole, seconds):
    def slow(*arguments):
        time.sleep(seconds)
        return whole(*arguments)

    return slow


def row_of(done, name):
    return next(row["repetitions"][0] for row in json.loads(done.out)["rows"] if row["name"] == name)


def test_what_stands_around_a_decode_is_the_hosts(bench, monkeypatch):
    monkeypatch.setattr(Context, "_llama_decode", slowed(Context._llama_decode, 0.01))
    assert row_of(bench("demo", *SHORT, "--json", "-k", "0"), "base")["host_ms"] >= 9


def test_what_llama_cpp_takes_is_not_the_hosts(bench, monkeypatch):
    monkeypatch.setattr(llama_cpp, "llama_decode", slowed(llama_cpp.llama_decode, 0.02))
    row = row_of(bench("demo", *SHORT, "--json", "-k", "0"), "base")
    assert 1e3 * row["answer_s"] - row["host_ms"] * row["n_tokens"] >= 19 * row["base_passes"]


def test_steps_in_native_code_are_not_the_hosts(bench, monkeypatch):
    """Only `llama_decode` was once timed, and all that is drafted in native code was the host's."""
    monkeypatch.setattr(NativeSteps, "take", slowed(NativeSteps.take, 0.2))
    row = row_of(bench("demo", *SHORT, "--json", "-k", "8", "--switch-at", "3"), "wsd k=8")
    assert 1e3 * row["answer_s"] - row["host_ms"] * row["n_tokens"] >= 199


def test_several_answers_at_once_and_prompts_of_their_length(bench):
    found = json.loads(bench("demo", "-p", "40", "-n", "4", "-r", "2", "-q", "--at-once", "3", "--json").out)
    for row in found["rows"]:
        assert row["at_once"] == 3 and len(row["repetitions"]) == 2
        assert all(one["n_tokens"] == 12 for one in row["repetitions"]), "answers went on behind their ends"


def test_a_table_and_comma_separated_values(bench):
    text = bench("demo", *SHORT).out
    assert "processor:" in text and re.search(r"\| demo \| +\d+ \| 16 \| 8 \| 1 \| base \|", text)
    rows = list(csv.DictReader(io.StringIO(bench("demo", *SHORT, "--csv").out)))
    assert [row["name"] for row in rows] == ["base", "drafter", "wsd k=0", "wsd k=auto"]


def test_folders_are_pairs_under_their_names(bench, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        shutil.copy(drafter_path(), tmp_path / name / "drafter.gguf")
        shutil.copy(base_path(), tmp_path / name / "base.gguf")
    found = json.loads(bench("one", "two", *SHORT, "-k", "0", "--json").out)
    assert [pair["name"] for pair in found["pairs"]] == ["one", "two"]
    assert [row["pair"] for row in found["rows"]] == ["one"] * 3 + ["two"] * 3


def test_what_was_measured_is_shown_although_a_later_pair_fails(bench, tmp_path):
    (tmp_path / "half").mkdir()
    shutil.copy(drafter_path(), tmp_path / "half" / "drafter.gguf")
    done = bench("demo", "half", *SHORT, "--json")
    assert done.code == 1 and "base.gguf" in done.err
    found = json.loads(done.out)
    assert {row["pair"] for row in found["rows"]} == {"demo"} and all(row["repetitions"] for row in found["rows"])


def test_rows_share_what_they_learn_of_the_machine_and_not_of_answers():
    """Proposals of a pinned number were experience for the row that chooses by itself."""
    with Pair.load(drafter_path(), base_path()) as pair:
        bench, seen = PairBench(pair), []
        for propose in (16, None, 16):
            bench.measure(BenchCase(Workload(16, 8), "wsd", 2, propose))
            seen.append(pair.loaded.experience)
    assert seen[0] is seen[2] is not seen[1] and seen[0].costs is seen[1].costs


def test_a_picture_is_drawn(bench, tmp_path):
    pytest.importorskip("matplotlib")
    done = bench("demo", *SHORT, "-k", "0,2,auto", "--plot", "speed.svg")
    assert done.code == 0, done.err
    text = (tmp_path / "speed.svg").read_text()
    assert text.lstrip().startswith("<?xml") and "agreement of drafter and base" in text and "tokens proposed" in text


def test_a_picture_without_matplotlib_is_refused_before_anything_is_measured(bench, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = bench("demo", *SHORT, "--plot", "speed.svg")
    assert done.code == 1 and done.out == "" and 'pip install "edge-wsd[bench]"' in done.err


def test_a_picture_that_cannot_be_written_costs_no_figures(bench, tmp_path, monkeypatch):
    """What had been measured was lost with it."""
    pytest.importorskip("matplotlib")
    (tmp_path / "folder.svg").mkdir()
    for plot, problem in (("no/such/speed.svg", "there is no folder no/such"), ("folder.svg", "cannot be written")):
        done = bench("demo", *SHORT, "--plot", plot)
        assert done.code == 1 and done.out == "" and problem in done.err

    def disk_is_full(path, _data, **_settings):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(pictures, "write_atomically", disk_is_full)
    done = bench("demo", *SHORT, "--plot", "speed.svg")
    assert done.code == 1 and "wsd k=auto" in done.out and "speed.svg: cannot be written" in done.err


def test_a_peer_that_fails_loses_its_row_and_nothing_else(bench, tmp_path):
    peer = tmp_path / "broken"
    peer.write_text("#!/bin/sh\necho out of memory >&2\nexit 7\n")
    peer.chmod(0o755)
    done = bench("demo", *SHORT, "--json", "--llama-bench", str(peer), "--llama-server", str(peer))
    assert done.code == 1 and done.err.count("exit code 7") == 2 and "out of memory" in done.err
    found = json.loads(done.out)
    assert len(found["failures"]) == 2 and not any(row["peer"] for row in found["rows"])
    assert len(found["rows"]) == 4


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("demo", "--json", "--csv"), 2, "not both"),
        (("demo", "-p", "a"), 2, "'a' is not a number from 1 to"),
        (("demo", "-p", "0"), 2, "'0' is not a number from 1 to"),
        (("demo", "-n", "32,"), 2, "'' is not a number"),
        (("demo", "--switch-at", "later"), 2, "or never or auto"),
        (("demo", "-k", "999"), 2, "to 128 or auto"),
        (("demo", "--at-once", "65"), 2, "from 1 to 64"),
        (("demo", "--base", "b.gguf"), 2, "not both"),
        (("--base", "b.gguf"), 2, "--drafter MODEL is missing"),
        (("nothing",), 1, "nothing"),
        (("demo", "--llama-bench", "nowhere/llama-bench"), 1, "nowhere/llama-bench: does not exist"),
        (("demo", "-p", "1", "-n", "4", "-q"), 1, "a prompt of 1 tokens is too short"),
    ],
)
def test_what_cannot_be_measured_is_one_line(bench, arguments, code, said):
    done = bench(*arguments)
    assert done.code == code and said in done.err and done.out == ""
    assert done.err.count("\n") == 1
