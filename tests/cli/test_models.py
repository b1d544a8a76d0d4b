"""The command line over real files: tiny random models, and files that are none."""

from __future__ import annotations

import json

import pytest

from tests.tiny_models import TinyModel, string


@pytest.fixture
def models(tmp_path):
    """Writes models into the folder the program runs in."""

    def write(name, **changes):
        TinyModel(**changes).write(tmp_path / name)
        return name

    return write


@pytest.fixture
def pair(models):
    return ["--drafter", models("drafter.gguf"), "--base", models("base.gguf", seed=1, n_layers=3)]


def test_run_answers_with_two_files(program, pair):
    done = program("run", "list size", *pair, "--max-tokens", "12", "--json", "--threads", "1")
    answer = json.loads(done.stdout)
    assert done.returncode == 0 and done.stderr.count("\n") <= 2
    assert answer["text"] == "".join(token["text"] for token in answer["tokens"])
    assert answer["finish_reason"] in ("stop", "length") and len(answer["tokens"]) <= 12


def test_a_forced_switch_is_told(program, pair):
    done = program("run", "list size", *pair, "--max-tokens", "12", "--switch-at", "3", "--json", "--threads", "1")
    answer = json.loads(done.stdout)
    assert answer["switch"]["index"] == 2 and answer["switch"]["reason"] == "forced"
    assert [token["source"] for token in answer["tokens"]] == ["drafter"] * 3 + ["base"] * (len(answer["tokens"]) - 3)
    assert all(token["logprob"] <= 0 for token in answer["tokens"])


def test_the_same_command_writes_the_same_bytes(program, pair):
    arguments = ["run", "list size", *pair, "-q", "--max-tokens", "12", "--temperature", "1", "--threads", "1"]
    first = program(*arguments, "--seed", "3")
    assert first.returncode == 0 and first.stdout == program(*arguments, "--seed", "3").stdout


def test_a_drafter_without_a_chat_template_names_the_option_that_helps(program, models):
    files = ["--drafter", models("drafter.gguf", chat_template=None), "--base", models("base.gguf")]
    done = program("run", "hello", *files)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "--drafter-template plain" in done.stderr
    helped = program("run", "hello", *files, "--drafter-template", "plain", "--max-tokens", "4", "--threads", "1")
    assert helped.returncode == 0


def test_a_prompt_longer_than_the_context_is_one_line(program, pair):
    done = program("run", "list size " * 200, *pair, "--threads", "1")
    assert done.returncode == 1 and done.stdout == "" and done.stderr.count("\n") == 1
    assert "256" in done.stderr


def broken_files(folder):
    TinyModel().write(folder / "whole.gguf")
    whole = (folder / "whole.gguf").read_bytes()
    (folder / "text.gguf").write_text("this is a text\n" * 100)
    (folder / "empty.gguf").write_bytes(b"")
    (folder / "short.gguf").write_bytes(whole[: len(whole) // 2])
    (folder / "head.gguf").write_bytes(whole[:37])
    (folder / "folder.gguf").mkdir()


@pytest.mark.parametrize(
    "name, role",
    [*((name, "drafter") for name in ("text", "empty", "short", "head", "folder", "missing")), ("text", "base")],
)
def test_a_file_that_is_no_model_is_one_line_that_names_it(program, tmp_path, name, role):
    broken_files(tmp_path)
    other = "base" if role == "drafter" else "drafter"
    done = program("run", "hello", f"--{role}", f"{name}.gguf", f"--{other}", "whole.gguf")
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and f"{name}.gguf" in done.stderr


@pytest.mark.parametrize("name", ["text", "folder", "missing"])
def test_check_refuses_what_is_no_model_in_one_line(program, tmp_path, name):
    broken_files(tmp_path)
    done = program("check", "whole.gguf", f"{name}.gguf")
    assert done.returncode == 1 and done.stdout == "" and done.stderr.count("\n") == 1


def test_check_tries_a_file_in_a_process_of_its_own_first(program, pair, tmp_path):
    """The file is well formed, but llama.cpp throws on its pre-tokenizer."""
    TinyModel(metadata={"tokenizer.ggml.pre": string("no such one")}).write(tmp_path / "odd.gguf")
    done = program("check", "drafter.gguf", "odd.gguf")
    assert done.returncode == 1 and done.stdout == "" and done.stderr.count("\n") == 1
    assert "odd.gguf: llama.cpp cannot load it: " in done.stderr


def test_check_compares_vocabularies_without_weights(program, pair, tmp_path):
    alone = TinyModel()
    alone.tensors = []
    alone.write(tmp_path / "vocabulary.gguf")
    done = program("check", "drafter.gguf", "vocabulary.gguf")
    assert done.returncode == 0 and done.stdout.startswith("identical: "), done.stderr


def test_check_calls_equal_vocabularies_identical(program, pair):
    done = program("check", "drafter.gguf", "base.gguf")
    assert done.returncode == 0 and done.stdout.startswith("identical: ") and done.stderr == ""


def test_check_calls_a_longer_one_padded(program, models):
    specials = ("<|bos|>", "<|eos|>", "<|im_start|>", "<|im_end|>")
    files = models("a.gguf"), models("b.gguf", special_tokens=(*specials, "<|pad0|>", "<|pad1|>"))
    done = program("check", *files)
    assert done.returncode == 0 and done.stdout.startswith("padded: ") and "2 more" in done.stdout


def test_check_names_the_first_difference(program, models):
    files = models("a.gguf", words=("list", "file")), models("b.gguf", words=("list", "tree"))
    done = program("check", *files)
    assert done.returncode == 0 and done.stdout.startswith("different: token ")
    verdict = json.loads(program("check", *files, "--json").stdout)
    assert verdict["verdict"] == "different" and verdict["reason"] in done.stdout
    assert verdict["drafter"]["bos"]["text"] == "<|bos|>"


def test_ctrl_c_while_a_real_prompt_is_read_exits_with_130(at_terminal, models, tmp_path):
    """Sixty thousand tokens of prompt keep even a tiny model busy for many seconds."""
    drafter = models("drafter.gguf", n_ctx=65536, n_embd=64)
    (tmp_path / "long.json").write_text(json.dumps([{"role": "user", "content": "x" * 60000}]))
    arguments = ["--drafter", drafter, "--base", drafter, "--ctx", "65536", "--threads", "1"]
    somebody = at_terminal("run", "--messages", "long.json", *arguments, real=True)
    somebody.waits_for("the drafter reads the prompt", seconds=60)
    somebody.types("\x03")
    assert somebody.leaves(seconds=60) == 130 and "Traceback" not in somebody.seen


def test_chat_goes_on_after_an_answer_and_reuses_what_it_has_read(program, pair):
    done = program(
        "chat", *pair, "-q", "--max-tokens", "8", "--switch-at", "4", "--threads", "1", stdin="list\nsize\n/stats\n"
    )
    assert done.returncode == 0
    reused = [line for line in done.stderr.splitlines() if "of them reused" in line]
    assert len(reused) == 2 and not any(" 0 of them reused" in line for line in reused)
