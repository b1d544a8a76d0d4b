"""The program itself: what it imports, how it fails, what its codes are."""

from __future__ import annotations

import errno
import subprocess
import sys

import pytest

HEAVY = ("numpy", "llama_cpp", "rich", "prompt_toolkit", "jinja2", "gguf", "edge_wsd.pair", "edge_wsd.llama")


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], []])
def test_help_and_version_import_nothing_but_click(arguments, tmp_path):
    script = (
        "import sys\nfrom edge_wsd.cli.main import run\n"
        f"run({arguments!r})\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stderr.splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", ["run", "chat", "eval", "check", "convert", "doctor"])
def test_every_command_has_a_help_that_needs_no_model(program, name):
    done = program(name, "--help")
    assert done.returncode == 0 and done.stdout.startswith(f"Usage: edge-wsd {name}") and done.stderr == ""


@pytest.mark.parametrize("name", ["click", "edge_wsd.errors", "edge_wsd.cli.ui.guard"])
def test_ctrl_c_while_the_program_is_being_imported_ends_it_without_a_word(name, tmp_path):
    """It showed a traceback of Python's import system."""
    script = (
        "import sys\n"
        "class Interrupted:\n"
        "    def find_spec(self, wanted, path, target=None):\n"
        f"        if wanted == {name!r}:\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupted())\n"
        "from edge_wsd.cli import start\n"
        "start()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_only_what_can_happen_to_an_output_is_told_of_it():
    """Whatever the system refused, such as another process, was told as an output that cannot be written."""
    from edge_wsd.cli.main import explained

    assert explained(OSError(errno.ENOSPC, "No space left")) == "the output cannot be written: No space left"
    assert explained(OSError(errno.EAGAIN, "Try again")).startswith("the operating system refused: Try again")
    assert explained(OSError(errno.ENOENT, "No such file", "x.gguf")) == "x.gguf: No such file"


def test_the_version_is_the_packages(program):
    from edge_wsd import __version__

    assert program("--version").stdout == f"edge-wsd {__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["run", "--nonsense", "hello"],
        ["run", "hello", "--threshold", "1.5"],
        ["run", "hello", "--threshold", "nan"],
        ["run", "hello", "--max-tokens", "0"],
        ["run", "hello", "--max-tokens", "many"],
        ["run", "hello", "--mode", "both"],
        ["run", "hello", "--ctx", "1"],
        ["run", "hello", "--drafter-threads", "0"],
        ["run", "hello", "--base", "base.gguf"],
        ["run", "hello", "--drafter", "drafter.gguf"],
        ["run", "hello", "--pair", "demo", "--drafter", "a.gguf", "--base", "b.gguf"],
        ["check", "one.gguf"],
        ["convert", "folder"],
        ["convert", "folder", "file.gguf", "--type", "Q99"],
        ["eval"],
    ],
)
def test_wrong_usage_is_one_line_and_code_2(played, arguments):
    done = played(*arguments)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("edge-wsd: error: ") and done.stderr.count("\n") == 1


def test_a_value_out_of_range_is_named_by_its_flag(played):
    assert "--drafter-threads must be between 1 and 512, not 0" in played("run", "x", "--drafter-threads", "0").stderr
    assert "--max-tokens must be at least 1, not 0" in played("run", "x", "--max-tokens", "0").stderr


def test_without_arguments_the_help_is_shown_as_wrong_usage(program):
    done = program()
    assert done.returncode == 2 and "Commands:" in done.stderr


def test_an_error_of_the_library_is_one_line_and_code_1(played):
    done = played("run", "too full", "-q")
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr == "edge-wsd: error: the prompt has 900 tokens, the context 512; use --ctx\n"


def test_a_mistake_of_ours_is_one_line_that_names_debug(played):
    done = played("run", "broken", "-q")
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "internal error: ZeroDivisionError" in done.stderr and "--debug" in done.stderr


@pytest.mark.parametrize("arguments", [["--debug", "run", "broken"], ["run", "broken", "--debug"]])
def test_debug_shows_the_traceback(played, arguments):
    done = played(*arguments)
    assert done.returncode == 1 and "Traceback" in done.stderr


def test_debug_can_be_set_in_the_environment(played):
    assert "Traceback" in played("run", "broken", EDGE_WSD_DEBUG="1").stderr
    assert "Traceback" not in played("run", "broken", EDGE_WSD_DEBUG="0").stderr
    assert "Traceback" in played("run", "broken", EDGE_WSD_DEBUG="please").stderr  # this was called wrong usage


def test_an_error_with_control_characters_is_still_one_harmless_line(played):
    done = played("run", "x", "--pair", "a\x1b[2J\nb")
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "\x1b" not in done.stderr
