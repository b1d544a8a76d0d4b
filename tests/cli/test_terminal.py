"""What reaches a terminal, whatever it comes from, and how the terminal is left, however the program ends."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Iterator

import pytest

from edge_wsd.cli.ui.terminal import one_line
from tests.cli.conftest import FAKE
from tests.cli.terminal import Person

PROMPT = ">>> "
CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
OWN = re.compile(r"\x1b\[[0-9;]*m|\x1b\[\d*[DK]|\x1b\[\?\d+[hl]")
"""Sequences that the program writes itself: colours, and what moves inside a line."""


def foreign(raw: str) -> list[str]:
    """Control characters that are not part of a sequence of the program's own."""
    return CONTROL.findall(OWN.sub("", raw))


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "escape"],
        ["run", "escape", "--json"],
        ["run", "broken"],
        ["run", "broken", "--debug"],
        ["run", "logs"],
        ["run", "prints"],
        ["run", "x", "--pair", "a\x1b[2J\x9bb\x7f"],
        ["run", "x", "--drafter", "a\x1b[2J\x9b\x7f.gguf", "--base", "b\nc.gguf"],
        ["chat", "--load", "a\x1b[2J\x9b\x7f\nb"],
        ["\x1b[2J\x9bnonsense"],
        ["run", "--\x1b[2J\x9bnonsense"],
    ],
)
def test_nothing_a_terminal_would_obey_comes_from_outside(at_terminal, arguments):
    """`--json` let U+009B and DEL through, log records ESC, `--debug` everything."""
    somebody = at_terminal(*arguments)
    somebody.leaves()
    assert somebody.raw and foreign(somebody.raw) == []


@pytest.mark.parametrize("prompt", ["logs", "broken"])
def test_no_text_can_forge_a_line_of_the_programs_own(played, prompt):
    """A log record with a line break in it looked like an error of edge-wsd."""
    done = played("run", prompt)
    assert "forged" in done.stderr and "\nedge-wsd: error: forged" not in done.stderr and "\x1b" not in done.stderr


def test_json_for_a_terminal_holds_the_same_text_as_for_a_pipe(at_terminal, played):
    import json

    somebody = at_terminal("run", "escape", "--json", "-q", columns=4000)
    somebody.leaves()
    piped = json.loads(played("run", "escape", "--json").stdout)
    assert json.loads(somebody.raw)["text"] == piped["text"] == "\x1b]0;title\x07\x1b[2Ja\rb c\x9bd"


def test_one_line_is_one_line():
    assert one_line("a\r\n  b\u2028c\x85d\x0be \n") == "a b c d e"
    assert one_line("  ab") == "  ab"


@pytest.mark.skipif(sys.platform == "win32", reason="signals and terminals of Unix")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
@pytest.mark.parametrize("meanwhile", ["at the prompt", "while an answer is written", "in a search"])
def test_a_signal_leaves_the_terminal_as_it_was(person, number, meanwhile):
    """After SIGTERM or SIGHUP the shell showed nothing of what was typed."""
    somebody = person()
    if meanwhile == "while an answer is written":
        somebody.line("slow")
        somebody.waits_for("Sure, you said slow")
    elif meanwhile == "in a search":
        somebody.types("\x12")
        somebody.rests()
    assert not somebody.echoes()
    os.kill(somebody.process.pid, number)
    assert somebody.leaves() == -number
    assert somebody.echoes()
    assert somebody.raw.rfind("\x1b[?2004l") >= somebody.raw.rfind("\x1b[?2004h")  # nor does it mark pasted text
    assert somebody.raw.rfind("\x1b[?25h") >= somebody.raw.rfind("\x1b[?25l")  # or hide the cursor


@pytest.mark.skipif(sys.platform == "win32", reason="signals and terminals of Unix")
@pytest.mark.parametrize("name", ["SIGABRT", "SIGALRM", "SIGUSR1", "SIGUSR2", "SIGXCPU"])
def test_so_does_every_other_signal_that_ends_it_and_can_be_heard(person, name):
    somebody = person()
    somebody.rests()
    os.kill(somebody.process.pid, getattr(signal, name))
    assert somebody.leaves() == -getattr(signal, name)
    assert somebody.echoes()


@pytest.mark.parametrize("how", ["\x04", "/quit\r"])
def test_leaving_leaves_the_terminal_as_it_was(person, how):
    somebody = person()
    somebody.rests()
    somebody.line(how.rstrip("\r")) if how.endswith("\r") else somebody.types(how)
    assert somebody.leaves() == 0 and somebody.echoes()


def test_a_signal_in_the_middle_of_a_coloured_answer_ends_the_colour(at_terminal):
    somebody = at_terminal("run", "slow")
    somebody.waits_for("Sure, you said slow")
    os.kill(somebody.process.pid, signal.SIGTERM)
    assert somebody.leaves() == -signal.SIGTERM
    assert somebody.raw.rfind("\x1b[0m") > somebody.raw.rfind("\x1b[38;5;")


@pytest.fixture
def shell(environment, tmp_path) -> Iterator[Person]:
    """A person in a shell with job control, in which `chat` begins a chat over the played pair."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash")
    somebody = Person([bash, "--norc", "--noprofile", "-i"], {**environment, "PS1": "shell$ "}, tmp_path)
    somebody.waits_for("shell$ ")
    somebody.line(shlex.join([*FAKE, "chat"]))
    somebody.waits_for(PROMPT)
    yield somebody
    somebody.close()


def test_ctrl_z_stops_an_answer_and_fg_goes_on_with_it(shell):
    shell.line("slow")
    shell.waits_for("Sure, you said slow")
    shell.types("\x1a")
    shell.waits_for("Stopped")
    shell.waits_for("shell$ ")
    shell.line("echo in the $((1 + 1))nd shell")
    shell.waits_for("in the 2nd shell\n")
    shell.line("fg")
    shell.waits_for("switch after")
    shell.waits_for(PROMPT)
    shell.line("hello")
    shell.waits_for("said hello")


def test_ctrl_z_at_the_prompt_stops_the_chat_and_keeps_the_line(shell):
    """It went into the message."""
    shell.types("half a")
    shell.waits_for("half a")
    shell.types("\x1a")
    shell.waits_for("Stopped")
    shell.waits_for("shell$ ")
    shell.line("fg")
    shell.waits_for("half a")
    shell.line(" question")
    shell.waits_for("said half a question")


@pytest.mark.parametrize("command", [("run",), ("chat",)])
@pytest.mark.parametrize("style", ["--color", "--marks"])
def test_a_long_wait_for_a_prompt_is_told_and_leaves_no_trace(at_terminal, command, style):
    """Nothing was shown for 26 seconds."""
    question = "pauses " + "word " * 20
    somebody = at_terminal(*command, style, *([question] if command == ("run",) else []), columns=60)
    if command == ("chat",):
        somebody.waits_for(PROMPT)
        somebody.line(question)
    somebody.waits_for("the base reads the prompt: 512 of 2476 ")
    assert any("you said the base reads" in line for line in somebody.lines), somebody.lines
    somebody.waits_for("switch after")
    text = " ".join(somebody.lines)
    closing = "\u00bb" if style == "--marks" else ""
    assert "reads" not in text and f"you said{closing} pauses word word" in text


def test_a_file_with_a_line_break_in_its_name_forges_no_line(program, tmp_path):
    """It stood in a line of its own, as if the program had said it."""
    from tests.tiny_models import TinyModel

    name = "a\nverdict: fits\n.gguf"
    TinyModel().write(tmp_path / name)
    for arguments in (["models", "show", name], ["plan", "--drafter", name, "--base", name]):
        done = program(*arguments)
        assert done.returncode == 0 and "a verdict: fits .gguf" in done.stdout
        assert done.stdout.count("\nverdict: fits") == (arguments[0] == "plan")


def test_a_wait_before_the_first_word_is_told(at_terminal):
    somebody = at_terminal("run", "reads")
    somebody.waits_for("the drafter reads the prompt: 512 of 2476 tokens, 1 s")
    somebody.types("\x03")
    assert somebody.leaves() == 130 and not any("reads" in line for line in somebody.lines)


def test_nothing_is_told_where_nobody_looks_or_wants_it(played, at_terminal):
    assert "reads" not in played("run", "pauses").stderr
    somebody = at_terminal("run", "pauses", "-q")
    somebody.leaves()
    assert "reads" not in somebody.raw


def test_a_dumb_terminal_gets_no_sequence_and_can_chat(at_terminal, environment):
    """Editors' terminals showed escape sequences as text."""
    environment["TERM"] = "dumb"
    somebody = at_terminal("chat")
    somebody.waits_for(PROMPT)
    somebody.line("hello")
    somebody.waits_for("Sure, you said hello")
    somebody.waits_for(PROMPT)
    somebody.line('"""two')
    somebody.waits_for("... ")
    somebody.line('lines"""')
    somebody.waits_for("Sure, you said two lines")
    somebody.line("slow")
    somebody.waits_for("said slowSure,")
    somebody.types("\x03")
    somebody.waits_for("stopped")
    somebody.waits_for(PROMPT)
    time.sleep(0.3)
    somebody.types("\x04")
    assert somebody.leaves() == 0 and "\x1b" not in somebody.raw


@pytest.mark.parametrize(
    "arguments", [["run", "hello"], ["eval", "demo", "--limit", "1"], ["pairs"], ["run", "broken"]]
)
def test_a_dumb_terminal_gets_no_sequence_from_any_command(at_terminal, environment, arguments):
    environment["TERM"] = "dumb"
    somebody = at_terminal(*arguments, real=arguments[0] in ("eval", "pairs"))
    somebody.leaves(seconds=120)
    assert somebody.raw and "\x1b" not in somebody.raw
