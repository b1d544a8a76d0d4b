"""`edge-wsd completion`: real shells complete commands, pairs, models and sessions after it is installed."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from edge_wsd.cli.main import COMMANDS
from tests.cli.terminal import Person

BIN = Path(sys.executable).parent
TAB = "\t"

pytestmark = pytest.mark.skipif(not (BIN / "edge-wsd").exists(), reason="the program is not beside this Python")


@pytest.fixture
def shell(environment, tmp_path):
    """Starts a shell that reads its startup file in a home of its own, with the program on its path."""
    people = []

    def start(name, *arguments):
        if shutil.which(name) is None:
            pytest.skip(f"{name} is not installed")
        env = {**environment, "PATH": f"{BIN}:{os.environ['PATH']}", "TERM": "xterm", "PS1": "ready> "}
        people.append(Person([shutil.which(name), *arguments], env, tmp_path, columns=100))
        return people[-1]

    yield start
    for somebody in people:
        somebody.close()


def installed(program, shell_name):
    done = program("completion", "--install", SHELL=f"/usr/bin/{shell_name}")
    assert done.returncode == 0 and done.stdout == "" and f"new {shell_name} sessions complete" in done.stderr
    return done


def completes(somebody, typed, expected):
    somebody.types(typed + TAB)
    somebody.waits_for(expected)
    somebody.types("\x15")  # away with the line


def test_bash_completes_commands_options_pairs_and_models(program, shell, tmp_path):
    installed(program, "bash")
    somebody = shell("bash", "-i")
    somebody.types("PS1='ready> '\n")
    somebody.waits_for("ready> ")
    completes(somebody, "edge-wsd calib", "edge-wsd calibrate ")
    completes(somebody, "edge-wsd run --pair pilot-llama-7", "--pair pilot-llama-70b ")
    completes(somebody, "edge-wsd calibrate demo-o", "calibrate demo-other ")
    completes(somebody, "edge-wsd run --thresh", "--threshold ")
    completes(somebody, "edge-wsd run --rule nu", "--rule nudge ")
    (tmp_path / "mymodel.gguf").touch()
    completes(somebody, "edge-wsd run --drafter mymo", "--drafter mymodel.gguf ")


def test_zsh_completes_commands_and_pairs(program, shell, tmp_path):
    (tmp_path / ".zshrc").write_text("PS1='ready> '\n")
    installed(program, "zsh")
    somebody = shell("zsh", "-i")
    somebody.waits_for("ready> ")
    completes(somebody, "edge-wsd calib", "edge-wsd calibrate")
    completes(somebody, "edge-wsd run --pair pilot-llama-7", "pilot-llama-70b")


def test_fish_completes_commands_and_pairs(program, shell, environment):
    installed(program, "fish")
    somebody = shell("fish", "--private", "-i", "-C", "function fish_prompt; echo -n 'ready> '; end")
    somebody.waits_for("ready> ")
    completes(somebody, "edge-wsd calib", "edge-wsd calibrate")
    completes(somebody, "edge-wsd run --pair pilot-llama-7", "pilot-llama-70b")


@pytest.mark.parametrize(("shell_name", "startup"), [("bash", ".bashrc"), ("zsh", ".zshrc")])
def test_installing_twice_adds_one_line_and_keeps_the_rest(program, tmp_path, shell_name, startup):
    before = "# mine\nexport A=1"  # without a line break at its end
    (tmp_path / startup).write_text(before)
    first = installed(program, shell_name)
    text = (tmp_path / startup).read_text()
    assert f"added a line to {tmp_path / startup}" in first.stderr
    second = installed(program, shell_name)
    assert (tmp_path / startup).read_text() == text and "added a line" not in second.stderr
    assert text.startswith(before + "\n[ -f ") and text.count("\n") == 3


def test_no_other_byte_of_a_startup_file_changes_and_an_older_line_is_replaced_where_it_stands(program, tmp_path):
    """Lines that end as on Windows, a form feed, a key as it is typed, and text that is not UTF-8 came out changed."""
    mine, more = b"# mine\r\nbindkey '^Xe' 'a\rb'\x0c\x1c\xff\n", b"export B=2\n"
    startup = tmp_path / ".zshrc"
    startup.write_bytes(mine)
    installed(program, "zsh")
    with_line = startup.read_bytes()
    assert with_line.startswith(mine + b"[ -f ") and with_line.count(b"\n") == mine.count(b"\n") + 1
    startup.write_bytes(with_line + more)
    assert "added a line" not in installed(program, "zsh").stderr and startup.read_bytes() == with_line + more
    older = with_line.replace(b"completion.zsh", b"older.zsh")
    startup.write_bytes(older + more + older.removeprefix(mine))
    installed(program, "zsh")
    assert startup.read_bytes() == with_line + more


def test_the_script_is_printed_for_the_shell_that_is_named(program):
    for name, mark in (("bash", "complete -o nosort"), ("zsh", "#compdef edge-wsd"), ("fish", "complete --no-files")):
        assert mark in program("completion", name, SHELL="").stdout


def test_an_unknown_shell_is_one_line(program):
    done = program("completion", SHELL="/bin/tcsh")
    assert done.returncode == 2 and "$SHELL is 'tcsh'; say which shell is meant: bash, zsh, fish" in done.stderr
    assert "$SHELL is not set" in program("completion", SHELL="").stderr


def test_commands_are_completed_with_their_help_and_nothing_of_them_is_imported(program):
    done = program(COMP_WORDS="edge-wsd ", COMP_CWORD="1", _EDGE_WSD_COMPLETE="zsh_complete", PYTHONVERBOSE="")
    lines = done.stdout.splitlines()
    assert [line for line in lines if line in COMMANDS] == list(COMMANDS)
    assert COMMANDS["run"] in lines
    heavy = program(
        COMP_WORDS="edge-wsd ", COMP_CWORD="1", _EDGE_WSD_COMPLETE="zsh_complete", PYTHONPROFILEIMPORTTIME="1"
    ).stderr
    assert "edge_wsd.cli.main" in heavy and "edge_wsd.cli.commands" not in heavy
