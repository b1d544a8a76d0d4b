"""Pairs by name: the command, what `run` and `chat` make of a pair, and the question before a first pull."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import FAKE
from tests.cli.terminal import Person
from tests.hub_server import HubServer
from tests.tiny_models import TinyModel

REAL = [sys.executable, "-m", "edge_wsd"]


@pytest.fixture
def environment(environment, tmp_path):
    """A file of pairs and a store of this test alone."""
    pairs = {"EDGE_WSD_PAIRS": str(tmp_path / "pairs.toml"), "EDGE_WSD_STORE": str(tmp_path / "store")}
    return {**environment, **pairs, "OMP_NUM_THREADS": "1"}


@pytest.fixture
def models(tmp_path) -> list[str]:
    TinyModel().write(tmp_path / "d.gguf")
    TinyModel(seed=1, n_layers=3).write(tmp_path / "b.gguf")
    return ["--drafter", "d.gguf", "--base", "b.gguf"]


def pairs_of(tmp_path: Path, text: str) -> None:
    (tmp_path / "pairs.toml").write_text(text)


MINE = '[pairs.mine]\ndrafter = "d.gguf"\nbase = "b.gguf"\nthreshold = 0.7\nwindow = 4\n'


def test_a_pair_that_was_added_answers_from_any_folder(program, models, tmp_path):
    added = program("pairs", "add", "mine", *models, "--threshold", "0.7")
    assert added.returncode == 0 and added.stdout == ""
    assert "vocabularies identical" in added.stderr and str(tmp_path / "pairs.toml") in added.stderr
    assert f'drafter = "{tmp_path / "d.gguf"}"' in (tmp_path / "pairs.toml").read_text()
    assert program("pairs", "default", "mine").returncode == 0
    done = program("run", "list size", "--max-tokens", "4", "--threads", "1", "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["tokens"], done.stderr
    assert "demonstration" not in done.stderr


def test_the_list_is_what_pairs_alone_shows(played, tmp_path):
    pairs_of(tmp_path, 'default = "mine"\n' + MINE)
    shown = played("pairs")
    assert shown.returncode == 0 and shown.stdout == played("pairs", "list").stdout
    assert "mine" in shown.stdout and "pilot-gemma-27b" in shown.stdout and "not pulled" in shown.stdout
    listed = {pair["name"]: pair for pair in json.loads(played("pairs", "--json").stdout)["pairs"]}
    assert listed["mine"]["default"] and not listed["demo"]["default"] and listed["demo"]["built_in"]
    assert listed["mine"]["window"] == 4 and listed["mine"]["max_draft"] is None
    assert listed["mine"]["drafter"] == {"name": str(tmp_path / "d.gguf"), "path": None, "bytes": None}
    assert listed["demo"]["base"]["bytes"] > 0


def test_show_tells_what_is_set_what_is_usual_and_the_licences(played, tmp_path):
    pairs_of(tmp_path, MINE)
    rows = played("pairs", "show", "mine").stdout
    assert "threshold         0.7\n" in rows and "max draft         512 (as usual)" in rows and "missing" in rows
    built_in = played("pairs", "show", "pilot-llama-70b").stdout
    assert "Llama 3.1 Community License, gated" in built_in and "built in" in built_in


def test_the_default_can_be_set_shown_and_unset(played, tmp_path):
    pairs_of(tmp_path, "# kept\n" + MINE)
    assert played("pairs", "default").stdout == "demo\n"
    assert played("pairs", "default", "mine").returncode == 0
    assert played("pairs", "default").stdout == "mine\n"
    assert played("pairs", "default", "--none").returncode == 0
    assert played("pairs", "default").stdout == "demo\n"
    assert (tmp_path / "pairs.toml").read_text().startswith("# kept\n")


def test_removing_the_default_pair_says_so(played, tmp_path):
    pairs_of(tmp_path, 'default = "mine"\n' + MINE)
    done = played("pairs", "rm", "mine")
    assert done.returncode == 0 and "the default pair is demo again" in done.stderr
    assert "mine" not in (tmp_path / "pairs.toml").read_text()


@pytest.mark.parametrize(
    "arguments, code, told",
    [
        (["show", ""], 1, "there is no pair named ''"),
        (["add", "demo", "--drafter", "d.gguf", "--base", "b.gguf"], 1, "built in; give the pair another name"),
        (["add", "mine", "--drafter", "d.gguf", "--base", "b.gguf"], 1, "--force replaces it"),
        (["add", "x", "--drafter", "nope.gguf", "--base", "b.gguf"], 1, "nope.gguf: no such file"),
        (["add", "x", "--drafter", "pairs.toml", "--base", "b.gguf"], 1, "pairs.toml: is not a GGUF file"),
        (["add", "x", "--drafter", "nope", "--base", "b.gguf"], 1, "no model in the store named 'nope'"),
        (["add", "x", "--drafter", "a b", "--base", "b.gguf"], 1, "does not name a model"),
        (["add", "x", "--drafter", "d.gguf", "--base", "b.gguf", "--base-template", "t"], 1, "no such file"),
        (["add", "x", "--drafter", "d.gguf"], 2, "--base"),
        (["add", "a b", "--drafter", "d.gguf", "--base", "b.gguf"], 2, "not a name for a pair"),
        (["add", "x", "--drafter", "d.gguf", "--base", "b.gguf", "--window", "0"], 2, "--window must be at least 1"),
        (["add", "x", "--drafter", "d.gguf", "--base", "b.gguf", "--threshold", "2"], 2, "--threshold must be"),
        (["show", "nope"], 1, "known pairs: mine, demo"),
        (["default", "nope"], 1, "no pair named 'nope'"),
        (["default", "mine", "--none"], 2, "not both"),
        (["rm", "nope"], 1, "no pair named 'nope'"),
        (["rm", "demo"], 1, "built in and cannot be removed"),
        (["nonsense"], 2, "nonsense"),
    ],
)
def test_a_mistake_is_one_line_and_changes_nothing(played, models, tmp_path, arguments, code, told):
    pairs_of(tmp_path, MINE)
    done = played("pairs", *arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1), done.stderr
    assert told in done.stderr and (tmp_path / "pairs.toml").read_text() == MINE


def test_a_model_that_is_not_pulled_yet_is_a_warning(played, models):
    done = played("pairs", "add", "x", "--drafter", "d.gguf", "--base", "someone/base")
    assert done.returncode == 0 and done.stderr.startswith("warning: the base someone/base is not in the store")
    assert "edge-wsd pull someone/base:Q4_K_M" in done.stderr and "vocabularies" not in done.stderr


BAD = "[pairs.bad]\nwindwo = 3\n"


@pytest.mark.parametrize("command", [["run", "hello"], ["chat"], ["pairs", "show", "bad"], ["pairs", "default", "bad"]])
def test_a_mistake_in_the_entry_that_is_meant_is_told_with_its_line(played, tmp_path, command):
    pairs_of(tmp_path, 'default = "bad"\n' + BAD)
    done = played(*command)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "pairs.toml, line 3: " in done.stderr


def test_a_mistake_in_one_entry_blocks_no_other_pair(played, tmp_path):
    pairs_of(tmp_path, MINE + BAD)
    for pair in ([], ["--pair", "demo"]):
        assert played("run", *pair, "hello").returncode == 0
    listed = played("pairs")
    assert listed.returncode == 1 and "mine" in listed.stdout and "pairs.toml, line 7: " in listed.stderr
    assert played("pairs", "default", "mine").returncode == 0
    assert played("pairs", "rm", "bad").returncode == 0
    assert played("pairs").returncode == 0


def shown_options(played, *arguments: str, stdin: str = "/show\n") -> str:
    return next(line for line in played("chat", "-q", *arguments, stdin=stdin).stderr.splitlines() if "options" in line)


def test_a_pairs_settings_hold_unless_an_option_is_given(played, tmp_path):
    pairs_of(tmp_path, 'default = "mine"\n' + MINE)
    assert "threshold 0.7, window 4" in shown_options(played)
    assert "threshold 0.8, window 4" not in shown_options(played)
    given = shown_options(played, "--pair", "mine", "--threshold", "0.8", "--window", "9")
    assert "window 9" in given and "threshold" not in given
    assert "all as they come" in shown_options(played, "--pair", "demo")


def test_the_default_of_an_option_in_a_chat_is_the_pairs(played, tmp_path):
    pairs_of(tmp_path, MINE)
    done = played("chat", "-q", "--pair", "mine", "--window", "2", stdin="/set window default\n/set threshold\n/show\n")
    assert "window = 4" in done.stderr and "threshold = 0.7" in done.stderr and "  pair          mine" in done.stderr


def test_a_chat_greets_with_the_pairs_name(played, tmp_path):
    pairs_of(tmp_path, MINE)
    assert "mine: d.gguf begins, b.gguf finishes" in played("chat", "--pair", "mine", stdin="").stderr


def test_a_shell_completes_the_names_of_pairs(played, tmp_path):
    pairs_of(tmp_path, MINE)
    words = {"COMP_WORDS": "edge-wsd run --pair ", "COMP_CWORD": "3", "_EDGE_WSD_COMPLETE": "bash_complete"}
    assert "plain,mine" in played(**words).stdout.splitlines()
    pairs_of(tmp_path, "nonsense")
    assert "plain,demo" in played(**words).stdout.splitlines()


PULLED = 'default = "far"\n[pairs.far]\ndrafter = "d.gguf"\nbase = "someone/base:Q4_K_M"\n'


@pytest.mark.parametrize("arguments", [["run", "hello"], ["run", "hello", "--json"], ["chat"]])
def test_without_a_terminal_a_missing_model_is_one_line_with_the_command(played, tmp_path, arguments):
    pairs_of(tmp_path, PULLED)
    done = played(*arguments)
    assert done.returncode == 1 and done.stdout == "" and done.stderr.count("\n") == 1
    assert (
        "pair 'far' needs someone/base:Q4_K_M" in done.stderr and "`edge-wsd pull someone/base:Q4_K_M`" in done.stderr
    )


@pytest.fixture
def hub(environment, tmp_path) -> Iterator[HubServer]:
    TinyModel(seed=1, n_layers=3).write(tmp_path / "base.gguf")
    with HubServer() as server:
        server.add("someone/base", {"base-Q4_K_M.gguf": (tmp_path / "base.gguf").read_bytes()}, licence="mit")
        environment["HF_ENDPOINT"] = server.url
        yield server


@pytest.fixture
def person(environment, tmp_path) -> Iterator[Callable[..., Person]]:
    people = []

    def sit_down(*command: str) -> Person:
        people.append(Person(list(command), environment, tmp_path))
        return people[-1]

    yield sit_down
    for somebody in people:
        somebody.close()


def test_a_first_use_asks_with_sizes_licence_and_place_and_then_answers(person, hub, models, tmp_path):
    pairs_of(tmp_path, PULLED)
    somebody = person(*REAL, "run", "list size", "--max-tokens", "4", "--threads", "1")
    somebody.waits_for("Pull it now? [y/N] ")
    for told in ("someone/base:Q4_K_M", "downloads ", "stores ", "licence: mit", str(tmp_path / "store"), " free"):
        assert told in somebody.seen, told
    assert hub.bytes_sent(".gguf") == 0 and "please log in" not in somebody.seen  # a warning of the client
    somebody.line("y")
    assert somebody.leaves() == 0, somebody.seen
    assert hub.bytes_sent(".gguf") == (tmp_path / "base.gguf").stat().st_size


@pytest.mark.parametrize(
    "key, code, told", [("\r", 1, "nothing was pulled"), ("n\r", 1, "edge-wsd pull someone/base:")]
)
def test_no_is_one_line_and_nothing_is_pulled(person, hub, tmp_path, key, code, told):
    pairs_of(tmp_path, PULLED)
    somebody = person(*FAKE, "run", "hello")
    somebody.waits_for("[y/N] ")
    somebody.types(key)
    assert somebody.leaves() == 1
    assert "nothing was pulled" in somebody.seen and "edge-wsd pull someone/base:" in somebody.seen
    assert hub.bytes_sent(".gguf") == 0


def test_ctrl_c_at_the_question_exits_with_130_and_ctrl_d_is_no(person, hub, tmp_path):
    pairs_of(tmp_path, PULLED)
    for key, code in (("\x03", 130), ("\x04", 1)):
        somebody = person(*FAKE, "chat")
        somebody.waits_for("[y/N] ")
        somebody.types(key)
        assert somebody.leaves() == code and "Traceback" not in somebody.seen
    assert hub.bytes_sent(".gguf") == 0


def test_yes_pulls_without_asking(played, hub, tmp_path):
    pairs_of(tmp_path, PULLED)
    done = played("run", "hello", "--yes")
    assert done.returncode == 0 and "[y/N]" not in done.stderr and done.stdout == "Sure, you said hello\n"
    assert played("run", "hello").returncode == 0  # it is in the store now


def test_a_model_that_the_hub_refuses_is_no_question(person, hub, tmp_path):
    hub.add("someone/base", {"base-Q4_K_M.gguf": b""}, gated=True)
    pairs_of(tmp_path, PULLED)
    somebody = person(*FAKE, "run", "hello")
    assert somebody.leaves() == 1 and "[y/N]" not in somebody.seen and "someone/base" in somebody.seen


def test_names_of_the_store_work_wherever_a_model_is_named(program, hub, models, tmp_path):
    assert program("pull", "someone/base:Q4_K_M", "-q").returncode == 0
    checked = program("check", "d.gguf", "someone/base:Q4_K_M")
    assert checked.returncode == 0 and checked.stdout.startswith("identical"), checked.stderr
    done = program("run", "list", "--drafter", "d.gguf", "--base", "base", "--max-tokens", "4", "--threads", "1")
    assert done.returncode == 0, done.stderr
    added = program("pairs", "add", "mine", "--drafter", "d.gguf", "--base", "base")
    assert added.returncode == 0 and "vocabularies identical" in added.stderr


def test_a_disk_too_full_is_told_before_the_question(monkeypatch):
    from edge_wsd.cli import first_use
    from edge_wsd.errors import StoreError
    from edge_wsd.models.pairs.known import find_pair

    costs = [first_use.Cost(name, 9 << 30, 4 << 30, 6 << 30, "mit", Path("/")) for name in ("a", "b")]
    monkeypatch.setattr("edge_wsd.models.store.disk_space.free_bytes", lambda _folder: 10 << 30)
    assert "both: downloads 18.0 GiB, stores 8.0 GiB" in "\n".join(first_use.cost_lines(find_pair("demo"), costs))
    monkeypatch.setattr("edge_wsd.models.store.disk_space.free_bytes", lambda _folder: (10 << 30) - 1)
    with pytest.raises(StoreError, match=r"needs 10\.0 GiB .* EDGE_WSD_STORE"):
        first_use.cost_lines(find_pair("demo"), costs)
