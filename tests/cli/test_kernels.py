"""The real program where llama.cpp's kernels end the process: a library in front of llama.cpp makes them do it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import edge_wsd.demo
from edge_wsd.llama.installation import library_files
from edge_wsd.llama.processor import this_processor
from edge_wsd.llama.rebuild import rebuild_command

BASE = Path(edge_wsd.demo.__path__[0], "base.gguf")
QUESTION = "How do I list files by size?"
COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
SHARED = any(path.name.startswith("libggml-base.so") for path in library_files())


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> Path:
    """To be preloaded: its functions come before those of the same name."""
    if sys.platform != "linux":
        pytest.skip("LD_PRELOAD is Linux's")
    if COMPILER is None:
        pytest.skip("there is no C compiler")
    if not SHARED:
        pytest.skip("ggml lies inside libllama, where nothing can come before it")
    target = tmp_path_factory.mktemp("broken") / "broken.so"
    source = Path(__file__).with_name("broken_kernels.c")
    subprocess.run([COMPILER, "-shared", "-fPIC", "-O1", "-o", str(target), str(source), "-ldl"], check=True)
    return target


@pytest.fixture
def broken(library, tmp_path) -> dict[str, str]:
    """Variables under which kernels fail as `DIE` says; what is found out of them is remembered apart."""
    return {"LD_PRELOAD": str(library), "EDGE_WSD_CACHE": str(tmp_path / "cache")}


def warnings_of(done) -> list[str]:
    return [line for line in done.stderr.splitlines() if line.startswith("edge-wsd: warning:")]


@pytest.mark.parametrize(("how", "told"), [("extra", "SIGILL, illegal instruction"), ("wrong", " numbers")])
def test_a_run_goes_on_without_the_kernels_that_fail_and_says_so_once_in_one_line(program, broken, how, told):
    """It ended with "Illegal instruction", exit code 132 and no word, and so did `doctor`."""
    sound = program("run", QUESTION)
    first, second = (program("run", QUESTION, **broken, DIE=how) for _ in range(2))
    for done in (first, second):  # found out, and remembered
        assert (done.returncode, done.stdout) == (0, sound.stdout), done.stderr
    (line,) = warnings_of(first)
    assert told in line and line.endswith(rebuild_command())
    assert not warnings_of(second)


def test_the_setting_leaves_them_out_without_a_test(program, broken):
    done = program("run", QUESTION, "--extra-buffers", "off", **broken, DIE="extra")
    assert done.returncode == 0 and not warnings_of(done)


def test_quiet_leaves_the_warning_out(program, broken):
    done = program("run", QUESTION, "-q", **broken, DIE="extra")
    assert done.returncode == 0 and "ls -lS" in done.stdout and done.stderr == ""
    assert len(warnings_of(program("run", QUESTION, **broken, DIE="extra"))) == 1  # it is told to who listens


def test_where_nothing_holds_a_run_ends_with_one_line_that_says_what_to_do(program, broken):
    done = program("run", QUESTION, "-q", **broken, DIE="always")
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert "SIGILL, illegal instruction" in line and line.endswith(rebuild_command())


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", QUESTION), ("chat", "-q"), ("trace", QUESTION), ("eval", "demo", "--limit", "1"), ("plan", "demo"),
        ("check", "{base}", "{base}"), ("models", "show", "{base}"), ("imatrix", "{base}", "{target}"),
    ],
    ids=lambda arguments: arguments[0],
)  # fmt: skip
def test_a_llama_cpp_that_cannot_even_start_ends_no_command_without_a_word(program, broken, tmp_path, arguments):
    """The kernels were tried only after the library had been loaded, and the program had ended with it."""
    given = {"base": BASE, "target": tmp_path / "out.gguf"}
    done = program(*(each.format(**given) for each in arguments), **broken, DIE="start")
    assert done.returncode == 1, done.stderr
    assert "SIGILL, illegal instruction" in done.stderr and rebuild_command() in done.stderr


def test_doctor_reports_kernels_that_fail(program, broken):
    done = program("doctor", "--json", **broken, DIE="extra")
    report = json.loads(done.stdout)
    assert done.returncode == 0 and report["extra_buffers"] is False and report["self_test"]["n_tokens"]
    (warning,) = report["warnings"]
    assert "SIGILL, illegal instruction" in warning and rebuild_command() in warning


def test_doctor_outlives_kernels_of_which_none_hold(program, broken):
    done = program("doctor", **broken, DIE="always")
    assert done.returncode == 1 and "SIGILL, illegal instruction" in done.stdout
    assert rebuild_command() in done.stdout and "fastest kernels   not tested" in done.stdout


@pytest.mark.skipif("amx_int8" not in this_processor().flags, reason="this processor has no AMX")
def test_with_amx_the_program_answers_whatever_the_compiler_made_of_it(program, tmp_path):
    done = program("run", QUESTION, EDGE_WSD_CACHE=str(tmp_path))
    assert done.returncode == 0 and "ls -lS" in done.stdout, done.stderr
    assert program("doctor").returncode == 0
