"""`edge-wsd verify`: reports, objects, exit codes and errors."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

pytest.importorskip("torch")
pytest.importorskip("transformers")

from edge_wsd.cli.commands.verify import command
from edge_wsd.cli.main import run
from edge_wsd.converters import convert
from edge_wsd.demo.files import base_path
from tests.checkpoints import make_checkpoint
from tests.oracle.float_gguf import write_float_gguf

SHORT = ("--max-tokens", "40", "--threads", "1")


@pytest.fixture
def program(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> Callable[..., SimpleNamespace]:
    """The whole program in this process, as starting transformers takes seconds each time."""
    monkeypatch.chdir(tmp_path)

    def start(*arguments: str) -> SimpleNamespace:
        capfd.readouterr()
        code = run(list(arguments))
        printed = capfd.readouterr()
        return SimpleNamespace(returncode=code, stdout=printed.out, stderr=printed.err)

    return start


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("model")
    make_checkpoint(folder / "my-model", "llama")
    convert(folder / "my-model", folder / "my-model.gguf", type="F32")
    return str(folder / "my-model"), str(folder / "my-model.gguf")


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_float_gguf(base_path(), tmp_path_factory.mktemp("parent") / "parent[1].gguf"))


def test_a_right_file_is_a_report_without_colours_and_exit_code_0(program, model):
    done = program("verify", *model, *SHORT)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert "\x1b" not in done.stdout and "FAILS" not in done.stdout
    for part in ("logits", "tokenizer", "chat template"):
        line = next(line for line in done.stdout.splitlines() if line.strip().startswith(part))
        assert line.rstrip().endswith("holds")


def test_a_wrong_file_is_one_line_that_names_the_part_and_exit_code_1(program, model, tmp_path):
    make_checkpoint(tmp_path / "other", "llama", seed=5)
    done = program("verify", str(tmp_path / "other"), model[1], *SHORT)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "logits: max |Δ log-probability|" in done.stderr and "limit 1e-03" in done.stderr
    assert "FAILS" in done.stdout
    failed = program("verify", str(tmp_path / "other"), model[1], *SHORT, "--json")
    found = json.loads(failed.stdout)
    assert failed.returncode == 1 and found["holds"] is False and found["logits"]["holds"] is False
    assert found["tokenizer"]["holds"] and found["chat_template"]["holds"] and found["logits"]["n_tokens"] == 40


def test_a_text_of_ones_own_is_compared(model, tmp_path):
    (tmp_path / "own.txt").write_text("nine words of a text that is one's own")
    result = CliRunner().invoke(command, [*model, "--text", str(tmp_path / "own.txt"), "--json", "-q"])
    assert result.exit_code == 0, result.output
    assert 0 < json.loads(result.stdout)["logits"]["n_tokens"] < 40


def test_the_table_of_types_names_files_and_types_and_leaves_nothing_behind(program, parent):
    done = program("verify", "--compare", parent, str(base_path()), "q2_k", *SHORT)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    for word in ("parent[1].gguf", "F32", "base.gguf", "Q8_0", "Q2_K", "perplexity", "on 40 tokens"):
        assert word in done.stdout
    assert [path.name for path in Path(parent).parent.iterdir()] == ["parent[1].gguf"]


def test_the_object_of_a_comparison_holds_what_the_table_shows(program, parent):
    found = json.loads(program("verify", "--compare", parent, str(base_path()), *SHORT, "--json").stdout)
    assert found["parent"]["type"] == "F32" and found["n_tokens"] == 40
    row = found["files"][0]
    assert row["type"] == "Q8_0" and row["perplexity"] == pytest.approx(found["parent"]["perplexity"] * row["ratio"])
    assert 0 < row["mean_kl"] <= row["kl_99"] <= row["max_kl"] and 0 < row["top1_agreement"] <= 1


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("a",), "give CHECKPOINT and GGUF"),
        (("a", "b", "c"), "give CHECKPOINT and GGUF"),
        (("--compare", "a"), "at least one file or type"),
        (("a", "b", "--imatrix", "c"), "--imatrix needs --compare"),
        (("a", "b", "--gpu-layers", "3"), "--gpu-layers needs --compare"),
        (("a", "b", "--max-tokens", "0"), "--max-tokens"),
    ],
)
def test_wrong_usage_is_exit_code_2(program, arguments, reason):
    done = program("verify", *arguments)
    assert done.returncode == 2 and reason in done.stderr and done.stderr.count("\n") == 1


def test_what_cannot_be_read_is_one_line_that_names_it(program, model, parent, tmp_path):
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    (tmp_path / "note.gguf").write_text("not a model")
    for arguments, reason in (
        (("nowhere", model[1]), "nowhere is not a folder"),
        ((model[0], "nowhere.gguf"), "nowhere.gguf: no such file"),
        ((model[0], "note.gguf"), "note.gguf: is not a GGUF file"),
        ((*model, "--text", "latin.txt"), "latin.txt is not valid UTF-8"),
        ((*model, "--text", "none.txt"), "cannot read none.txt: No such file"),
        (("--compare", str(base_path()), "Q4_0"), "itself quantized"),
        (("--compare", parent, "Q4_K_X"), "did you mean Q4_K_"),
        (("--compare", parent, "IQ1_S"), "importance matrix"),
        (("--compare", parent, model[1]), "another vocabulary"),
    ):
        done = program("verify", *arguments)
        assert done.returncode == 1 and reason in done.stderr and done.stderr.count("\n") == 1, done.stderr


def test_without_transformers_the_error_names_the_extra(model, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    result = CliRunner().invoke(command, list(model))
    assert result.exit_code == 1 and 'pip install "edge-wsd[convert]"' in str(result.exception)
