"""The keys that a person knows from a shell, pressed at the prompt of a chat."""

from __future__ import annotations

import stat
import sys
import time

import pytest

PROMPT = ">>> "
ESC = "\x1b"
EARLIER = ("first question here", "second alpha beta", "third gamma")

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="terminals of Unix")


@pytest.fixture
def somebody(person):
    """A person who has asked three questions."""
    somebody = person(rows=100)
    for question in EARLIER:
        somebody.line(question)
        somebody.waits_for("switch after")
        somebody.waits_for(PROMPT)
    somebody.rests()
    return somebody


def line_of(somebody):
    line = next(line for line in reversed(somebody.lines) if line.startswith(PROMPT.rstrip()))
    return line.removeprefix(PROMPT.rstrip()).removeprefix(" ")


def presses(somebody, keys):
    for key in keys:
        somebody.types(key)
        somebody.rests(0.05)


def pressed(somebody, keys, *, awaited=None):
    """The line after these keys, one after the other."""
    presses(somebody, keys)
    end = time.monotonic() + 10
    while awaited is not None and line_of(somebody) != awaited and time.monotonic() < end:
        somebody.rests(0.1)
    somebody.rests(0.1)
    return line_of(somebody)


KEYS = {
    "Ctrl-A": (["hello", "\x01", "X"], "Xhello"),
    "Ctrl-E": (["hello", "\x01", "\x05", "X"], "helloX"),
    "Ctrl-K": (["hello world", "\x01", "\x06" * 5, "\x0b"], "hello"),
    "Ctrl-U": (["hello world", "\x02", "\x15"], "d"),
    "Ctrl-W": (["hello world", "\x17"], "hello"),
    "Ctrl-Y": (["hello world", "\x17", "\x19", "\x19"], "hello worldworld"),
    "Ctrl-T": (["ab", "\x14"], "ba"),
    "Ctrl-_": (["abc def", "\x17", "\x1f"], "abc def"),
    "Ctrl-D in a line": (["abc", "\x01", "\x04"], "bc"),
    "Ctrl-H": (["abc", "\x08"], "ab"),
    "Ctrl-L": (["abc", "\x0c"], "abc"),
    "Ctrl-P": (["\x10"], EARLIER[2]),
    "Ctrl-P and Ctrl-N": (["\x10", "\x10", "\x0e"], EARLIER[2]),
    "up": ([f"{ESC}[A", f"{ESC}[A"], EARLIER[1]),
    "down": ([f"{ESC}[A", f"{ESC}[A", f"{ESC}[B"], EARLIER[2]),
    "left": (["abc", f"{ESC}[D", "X"], "abXc"),
    "Home": (["abc", f"{ESC}[H", "X"], "Xabc"),
    "End": (["abc", f"{ESC}[H", f"{ESC}[F", "X"], "abcX"),
    "Delete": (["abc", "\x01", f"{ESC}[3~"], "bc"),
    "Alt-B": (["abc def", f"{ESC}b", "X"], "abc Xdef"),
    "Alt-F": (["abc def", "\x01", f"{ESC}f", "X"], "abcX def"),
    "Alt-D": (["abc def", "\x01", f"{ESC}d"], " def"),
    "Alt-Backspace": (["abc def", f"{ESC}\x7f", "X"], "abc X"),
    "Alt-.": ([f"{ESC}."], "gamma"),
    "Ctrl-left": (["abc def", f"{ESC}[1;5D", "X"], "abc Xdef"),
    "Ctrl-Space": (["a", "\0", "b"], "ab"),
    "Ctrl-R": (["\x12", "alp"], EARLIER[1]),
    "Ctrl-R twice": (["\x12", "d", "\x12"], EARLIER[1]),
    "Ctrl-R and Esc": (["\x12", "alp", ESC], EARLIER[1]),
    "Ctrl-R and Ctrl-A": (["\x12", "alp", "\x01", "X"], f"X{EARLIER[1]}"),
    "Ctrl-R and left": (["\x12", "alp", f"{ESC}[D", "X"], "secondX alpha beta"),
    "Ctrl-R and Ctrl-G": (["typed", "\x12", "a", "\x12", "\x07"], "typed"),
    "Ctrl-R and Ctrl-C": (["typed", "\x12", "a", "\x12", "\x03"], "typed"),
    "Ctrl-R and Ctrl-S": (["\x12", "a", "\x12", "\x13"], EARLIER[2]),
    "Tab": (["/sys", "\t"], "/system"),
    "Tab in a question": (["hello", "\t"], "hello"),
}


def test_keys_do_what_they_do_in_a_shell(somebody):
    found = {}
    for name, (keys, line) in KEYS.items():
        found[name] = pressed(somebody, keys, awaited=line)
        presses(somebody, ["\x07", "\x03", "\x0c"])  # out of a search, and a new line
    assert found == {name: line for name, (_, line) in KEYS.items()}


def test_enter_sends_what_a_search_found(somebody):
    """Enter lost it, and the search looked dead afterwards."""
    pressed(somebody, ["\x12", "alp"])
    somebody.types("\r")
    somebody.waits_for("Sure, you said second alpha beta")
    somebody.waits_for(PROMPT)
    somebody.line("hello")
    somebody.waits_for("Sure, you said hello")


def test_nothing_stands_beside_the_text_of_a_search(somebody):
    """The placeholder was glued to it."""
    pressed(somebody, ["\x12"])
    assert [line for line in somebody.lines if "search" in line] == ["I-search backward:"]
    assert not any("/help" in line for line in somebody.lines)


def test_enter_sends_a_command_that_tab_completed(somebody):
    pressed(somebody, ["/hel", "\t"])
    somebody.types("\r")
    somebody.waits_for("shows this")


def test_enter_takes_what_was_chosen_among_several_and_sends_it_then(somebody):
    assert pressed(somebody, ["/s", "\t", "\t", "\r"]) == "/set"
    somebody.types("\r")
    somebody.waits_for("threshold")


def test_pasted_lines_are_one_message(somebody):
    somebody.types(f"{ESC}[200~one\r\ntwo\nthree{ESC}[201~")
    somebody.rests()
    somebody.types("\r")
    somebody.waits_for("Sure, you said one two three")


def test_a_pasted_control_sequence_is_shown_and_not_obeyed(somebody):
    assert pressed(somebody, [f"{ESC}[200~red{ESC}[31m\x9b2J{ESC}[201~"]).startswith("red^[[31m")


def test_bytes_that_are_no_text_are_refused_and_the_conversation_goes_on(somebody):
    """Half a character ended in an internal error when the history was written."""
    pressed(somebody, [b"caf\xe9"])
    somebody.types("\r")
    somebody.waits_for("not valid UTF-8")
    somebody.waits_for(PROMPT)
    somebody.line("hello")
    somebody.waits_for("said hello")


def test_ctrl_x_ctrl_e_opens_the_line_in_an_editor(person, environment, tmp_path):
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nprintf "written in an editor" > "$1"\n')
    editor.chmod(editor.stat().st_mode | stat.S_IXUSR)
    environment["EDITOR"] = environment["VISUAL"] = str(editor)
    somebody = person()
    somebody.rests()
    somebody.types("\x18\x05")
    somebody.rests()
    if not any("written" in line for line in somebody.lines):
        somebody.types("\r")
    somebody.waits_for("written in an editor")


@pytest.mark.parametrize("when", ["before it is read", "before it is written"])
def test_a_history_that_cannot_be_read_or_written_costs_no_conversation(person, tmp_path, when):
    """A traceback and "Press ENTER to continue" stood in the middle of the conversation."""
    somebody = person()
    if when == "before it is written":
        somebody.rests()
    (tmp_path / ".local" / "share" / "edge-wsd" / "chat_history").unlink()
    (tmp_path / ".local" / "share" / "edge-wsd" / "chat_history").mkdir()
    for word in ("hello", "again"):
        somebody.line(word)
        somebody.waits_for(f"said {word}")
        somebody.waits_for(PROMPT)
    assert "Exception" not in somebody.seen
