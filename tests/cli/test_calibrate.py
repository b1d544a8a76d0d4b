"""`edge-wsd calibrate`: what it reads, tells, draws and stores."""

from __future__ import annotations

import json
import re
import subprocess
import time
from pathlib import Path

import pytest

from edge_wsd.calibration.settings import SettingGrid
from edge_wsd.demo import files

GUIDE = Path(__file__).parents[2] / "docs" / "first-real-pair.md"
QUESTIONS = ("How do I delete the file notes.txt?", "How do I list files by size?")
FEW = ("--thresholds", "0.5,0.8", "--windows", "3,6", "--nudges", "0.4", "--max-tokens", "40", "--threads", "1")


@pytest.fixture
def prompts(tmp_path):
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps({"prompt": question}) + "\n" for question in QUESTIONS))
    return path


def test_every_setting_is_tabled_and_one_recommended_with_its_rule(program, prompts):
    done = program("calibrate", "demo", prompts.name, *FEW)
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[0].startswith("2 drafts of ")
    assert lines[2:6] == [
        "Drafts in which the base takes over, %:",
        "threshold   w=3   w=6",
        "      0.5  100   100",
        "      0.8  100   100*",
    ]
    assert "Recommended: --threshold 0.8 --window 6" in lines
    assert lines[-2].startswith("This is the highest threshold") and "at least 90 % of the drafts" in lines[-2]
    assert lines[-1] == "Told from 2 drafts alone; 20 or more say more."


def test_json_holds_every_figure_and_the_verdict(program, prompts):
    found = json.loads(program("calibrate", "demo", prompts.name, *FEW, "--json", "-q").stdout)
    counts = [found[name] for name in ("pair", "n_prompts", "n_drafts", "n_failed", "n_empty")]
    assert counts == ["demo", 2, 2, 0, 0]
    keys = {(row["threshold"], row["window"], row["ignore_repeated"]) for row in found["settings"]}
    assert keys == {(t, w, r) for t in (0.5, 0.8) for w in (3, 6) for r in (False, True)}
    real = json.loads(program("run", QUESTIONS[1], "--json", "--max-tokens", "40", "--threads", "1", "-q").stdout)
    row = next(row for row in found["settings"] if row["threshold"] == 0.8 and row["window"] == 6)
    assert row["switch_tokens"] == real["switch"]["index"] + 1  # both questions switch there
    assert found["verdict"]["recommended"] == {"threshold": 0.8, "window": 6, "ignore_repeated": False}
    assert [nudge["nudge_below"] for nudge in found["nudges"]] == [0.4]


def test_the_setting_is_stored_in_a_pair_of_ones_own_and_used_there(program, prompts, tmp_path):
    pairs = {"EDGE_WSD_PAIRS": str(tmp_path / "pairs.toml")}
    models = ("--drafter", str(files.drafter_path()), "--base", str(files.base_path()))
    assert program("pairs", "add", "mine", *models, "--max-draft", "30", **pairs).returncode == 0
    done = program("calibrate", "mine", prompts.name, *FEW, "--windows", "3", "--store", "-q", **pairs)
    assert done.returncode == 0 and "stored threshold 0.8 and window 3 in mine" in done.stderr
    text = (tmp_path / "pairs.toml").read_text()
    assert "threshold = 0.8" in text and "window = 3" in text and "max_draft = 30" in text
    real = json.loads(program("run", QUESTIONS[0], "--pair", "mine", "--json", "-q", "--threads", "1", **pairs).stdout)
    assert real["switch"]["index"] + 1 == 4  # with a window of 6 it is 7
    (tmp_path / "pairs.toml").write_text(text.replace("0.8", "0.73"))
    found = json.loads(program("calibrate", "mine", prompts.name, "--limit", "1", "--json", "-q", **pairs).stdout)
    assert {row["threshold"] for row in found["settings"]} == {0.73, *SettingGrid().thresholds}


def test_a_pair_that_is_built_in_is_told_how_to_become_ones_own_before_anything_is_loaded(program, prompts):
    done = program("calibrate", "demo", prompts.name, "--store")
    assert done.returncode == 1 and done.stdout == ""
    assert "'demo' is built in" in done.stderr and "edge-wsd pairs add NAME" in done.stderr


def test_a_folder_with_two_models_is_a_pair_as_for_bench(program, prompts, tmp_path):
    folder = tmp_path / "two"
    folder.mkdir()
    (folder / "drafter.gguf").symlink_to(files.drafter_path())
    (folder / "base.gguf").symlink_to(files.base_path())
    found = json.loads(program("calibrate", "two", prompts.name, *FEW, "--json", "--limit", "1", "-q").stdout)
    assert (found["pair"], found["n_drafts"]) == ("two", 1)
    wrong = program("calibrate", "two", prompts.name, *FEW, "--drafter-template", "nowhere.jinja")
    assert wrong.returncode == 1 and "nowhere.jinja" in wrong.stderr
    done = program("calibrate", "two", prompts.name, "--store")
    assert done.returncode == 1 and "a folder has no options" in done.stderr


def test_a_poor_pair_is_told_and_nothing_stored(program, prompts, tmp_path):
    """The base as its own drafter: it is always sure of its words, from the first window on."""
    pairs = {"EDGE_WSD_PAIRS": str(tmp_path / "pairs.toml")}
    models = ("--drafter", str(files.base_path()), "--base", str(files.base_path()), "--drafter-template", "plain")
    assert program("pairs", "add", "same", *models, **pairs).returncode == 0
    easy = ("--thresholds", "0.05,0.1", "--windows", "1,2", "--max-tokens", "40", "--threads", "1")
    done = program("calibrate", "same", prompts.name, *easy, "--store", "-q", **pairs)
    assert done.returncode == 1 and "A poor pair: even with threshold 0.1, window 2" in done.stdout
    assert "nothing was stored in same" in done.stderr
    assert "threshold" not in (tmp_path / "pairs.toml").read_text().replace("threshold, window", "")


def test_lines_that_cannot_be_answered_are_told_and_the_others_count(program, prompts):
    with prompts.open("a") as file:
        file.write('{"prompt": ""}\n{"messages": [{"role": "user", "content": "a"}, ')
        file.write('{"role": "assistant", "content": "b"}]}\n')
    done = program("calibrate", "demo", prompts.name, *FEW)
    assert done.returncode == 1 and "Recommended" in done.stdout
    assert "2 of 4 prompts could not be answered; line 3: the prompt is empty" in done.stderr


def test_the_guides_command_takes_a_text_with_a_question_on_each_line(program, tmp_path):
    pytest.importorskip("matplotlib")
    (command,) = re.findall(r"^edge-wsd (calibrate .*)$", GUIDE.read_text(encoding="utf-8"), re.MULTILINE)
    arguments = command.replace("qwen-7b", "demo").split()
    (tmp_path / "questions.txt").write_text("\ufeff" + "\n\n".join(QUESTIONS), encoding="utf-8")
    done = program(*arguments, "--max-tokens", "40", "--threads", "1")
    assert done.returncode == 0 and done.stdout.startswith("2 drafts of ") and "Recommended" in done.stdout
    assert "<svg" in (tmp_path / "switches.svg").read_text(encoding="utf-8")


def test_prompts_come_on_stdin_too(program, prompts):
    done = program("calibrate", "demo", "-", *FEW, "--json", "-q", stdin=prompts.read_bytes())
    assert json.loads(done.stdout)["n_drafts"] == 2


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--thresholds", "0.5,x"], 2, "'0.5,x' is not a list of numbers"),
        (["--windows", "3,1.5"], 2, "is not a list of whole numbers"),
        (["--thresholds", "1.5"], 2, "threshold must be between 0 and 1"),
        (["--max-draft", "0"], 2, "--max-draft must be"),
        (["--plot", "x.gif"], 1, "ends with .svg or .png"),
        (["--plot", "folder.svg"], 1, "folder.svg: cannot be written (Is a directory)"),
    ],
)
def test_wrong_values_are_one_line(program, prompts, tmp_path, arguments, code, said):
    pytest.importorskip("matplotlib")
    (tmp_path / "folder.svg").mkdir()
    done = program("calibrate", "demo", prompts.name, *arguments)
    assert done.returncode == code and said in done.stderr and done.stdout == ""


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("q.csv", "prompt,answer\nHow?,So.\n", "q.csv is a table; expected a question, or a JSON object, in each line"),
        ("q.json", '[\n  {"prompt": "How?"}\n]\n', "q.json: it holds one JSON list; give its objects a line each"),
    ],
)
def test_a_file_of_another_form_is_refused_before_anything_is_loaded(program, tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    done = program("calibrate", "demo", name)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1) and said in done.stderr


def test_missing_and_empty_files_are_one_line(program, tmp_path):
    (tmp_path / "empty.jsonl").write_text("\n")
    assert "it is a folder, not a file" in program("calibrate", "demo", ".").stderr
    done = program("calibrate", "demo", "empty.jsonl")
    said = "empty.jsonl is empty; expected a question, or a JSON object, in each line"
    assert done.returncode == 1 and said in done.stderr
    assert program("calibrate", "demo", "nowhere.jsonl").returncode == 1
    assert "there is no pair named 'nobody'" in program("calibrate", "nobody", "empty.jsonl").stderr


def test_the_picture_shows_every_window_and_the_recommended_setting(program, prompts, tmp_path):
    pytest.importorskip("matplotlib")
    assert program("calibrate", "demo", prompts.name, *FEW, "--plot", "s.svg", "-q").returncode == 0
    text = (tmp_path / "s.svg").read_text()
    for said in ("window 3", "window 6", "recommended", "drafted share (median), %", "threshold"):
        assert said in text


def pair_of(path, more=""):
    path.write_text(f'[pairs.mine]\ndrafter = "{files.drafter_path()}"\nbase = "{files.base_path()}"\n{more}')


def test_an_edit_of_the_pair_while_drafts_are_written_is_kept(start, environment, prompts, tmp_path):
    path, lock = tmp_path / "pairs.toml", tmp_path / ".edge-wsd-pairs.lock"
    pair_of(path)
    environment["EDGE_WSD_PAIRS"] = str(path)
    process = start("calibrate", "mine", "-", *FEW, "--store", real=True, stdin=subprocess.PIPE)
    end = time.monotonic() + 60
    while not lock.exists() and time.monotonic() < end:  # it has read the pair, and waits for the prompts
        time.sleep(0.05)
    pair_of(path, "max_draft = 30  # short\n")
    process.communicate(prompts.read_bytes(), timeout=120)
    assert process.returncode == 0
    assert "max_draft = 30  # short" in path.read_text() and "threshold = 0.8" in path.read_text()


def test_ctrl_c_keeps_what_was_done_and_stores_nothing(at_terminal, environment, tmp_path):
    pytest.importorskip("matplotlib")
    (tmp_path / "many.txt").write_text("How do I list files by size?\n" * 3000)
    pair_of(tmp_path / "pairs.toml")
    environment["EDGE_WSD_PAIRS"] = str(tmp_path / "pairs.toml")
    asked = ("calibrate", "mine", "many.txt", "--plot", "many.png", "--store")
    somebody = at_terminal(*asked, real=True, columns=100)
    while not re.search(r" [1-9]\d*/3000", somebody.seen):
        somebody.waits_for("/3000")
    somebody.types("\x03")
    assert somebody.leaves() == 130
    assert re.search(r"stopped after \d+ of 3000 prompts; the figures are those of their drafts", somebody.seen)
    assert "Drafts in which the base takes over" in somebody.seen and (tmp_path / "many.png").exists()
    assert "threshold" not in (tmp_path / "pairs.toml").read_text()
