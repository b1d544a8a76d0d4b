"""What is shown fits the terminal, however narrow: lines are broken between words, and by the program itself."""

from __future__ import annotations

import re

import pytest
from rich.cells import cell_len

from edge_wsd.cli.ui.rows import broken, command_lines, hanging_lines, row_lines, table_lines
from edge_wsd.demo.files import base_path, drafter_path

PROMPT = ">>> "
SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b[78]")


def too_wide(raw, columns):
    """Lines that the terminal itself had to break; those of the prompt are drawn cell by cell."""
    lines = SEQUENCE.sub("", re.sub("\x1b8|\r", "\n", raw)).split("\n")
    return [line for line in lines if cell_len(line) > columns and PROMPT not in line]


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_a_chat_fits_its_terminal(person, columns):
    """At 40 columns the greeting, /help, /show and /stats broke inside words."""
    somebody = person(columns=columns, rows=300)
    for line in ("hello there", "/help", "/show", "/stats", "/set", "/show messages", "/sta", "/set window 3"):
        somebody.rests()  # what is typed into a table that is still being written stands in the middle of it
        somebody.line(line)
    somebody.rests()
    assert too_wide(somebody.raw, columns) == []
    words = " ".join(somebody.lines)
    assert "demonstration" in words and "forgets what was said" in words and "identical" in words


@pytest.mark.parametrize("columns", [40, 80, 200])
@pytest.mark.parametrize(
    "arguments, words",
    [
        (["plan", "--ctx", "2000"], "trained with"),
        (["pairs"], "meta-llama"),
        (["eval", "demo", "--limit", "1", "--modes", "wsd", "-q"], "right command"),
        (["models", "show", str(base_path())], "BITS/WEIGHT"),
        (["check", str(drafter_path()), str(base_path())], "all 3072 tokens"),
        (["--help"], "List, show and remove the models"),
        (["run", "--help"], "Maximum length of the answer, in tokens."),
    ],
)
def test_a_report_fits_its_terminal(at_terminal, columns, arguments, words):
    """At 80 columns `eval demo` cut its own labels; at 40 `models show`, `check` and --help broke inside words."""
    somebody = at_terminal(*arguments, real=True, columns=columns, rows=200)
    assert somebody.leaves(seconds=120) == 0
    assert too_wide(somebody.raw, columns) == [] and "\u2026" not in somebody.raw
    assert words in " ".join(somebody.raw.split())


def test_lines_are_broken_between_words_and_by_their_width_on_the_screen():
    text = "one two three four five"
    assert broken(text, 9) == ["one two", "three", "four five"]
    wide = broken("\u6f22\u5b57\u6f22\u5b57 and \u6f22\u5b57", 8)
    assert max(map(cell_len, wide)) <= 8 and "".join(wide).replace(" ", "") == "\u6f22\u5b57\u6f22\u5b57and\u6f22\u5b57"
    assert broken("", 9) == [""] and broken("x" * 20, 9) == ["x" * 9, "x" * 9, "xx"]


def test_what_does_not_fit_stands_below_a_little_further_in():
    assert hanging_lines(["  one two three", "four"], 10) == ["  one", "    two", "    three", "four"]
    assert hanging_lines(["one two three four"], None) == ["one two three four"]


def test_values_stand_beside_their_names_or_below_where_there_is_no_room():
    rows = [("name", "a value of several words that is long"), ("another", "short")]
    assert next(row_lines(rows, 60)) == "  name     a value of several words that is long"
    narrow = [*row_lines(rows, 24)]
    assert narrow[:2] == ["  name", "    a value of several"] and max(map(len, narrow)) <= 24
    assert [*row_lines([("name", "a"), ("another", "b")], 24)] == ["  name     a", "  another  b"]


def test_a_table_that_is_too_wide_becomes_a_block_for_each_row():
    rows = [("model", "size", "type"), ("one", "10", "Q8_0"), ("two", "5", "F16")]
    assert table_lines(rows) == table_lines(rows, 80) == ["model  size  type", "one      10  Q8_0", "two       5   F16"]
    assert table_lines(rows, 14) == ["one", "  size  10", "  type  Q8_0", "two", "  size  5", "  type  F16"]


def test_a_command_in_several_lines_is_the_same_command():
    import shlex

    command = '    CMAKE_ARGS="-DGGML_CUDA=on" pip install --extra-index-url https://example.org/a/long/address'
    lines = command_lines(command, 30)
    assert len(lines) > 2 and shlex.split("\n".join(lines).replace("\\\n", "")) == shlex.split(command)
    assert command_lines(command, None) == [command]
