"""How an answer is drawn: colours, marks, lines broken between words, and what is kept away from a terminal."""

from __future__ import annotations

import io
import re

import pytest

from edge_wsd.cli.ui.paint import Painter, Style
from edge_wsd.cli.ui.terminal import colours_wanted, neutralise


def painted(pieces, style, **how):
    out = io.StringIO()
    painter = Painter(out, style, **how)
    for text, source in pieces:
        painter.write(text, source)
    painter.end()
    return out.getvalue()


def on_a_screen(output):
    """The lines a terminal shows: enough of one for what the painter writes."""
    lines, column = [""], 0
    for part in re.findall(r"\x1b\[[0-9;]*[A-Za-z]|.|\n", output, re.DOTALL):
        if part.endswith("D") and part.startswith("\x1b"):
            column -= int(part[2:-1])
            assert column >= 0
        elif part == "\x1b[K":
            lines[-1] = lines[-1][:column]
        elif part == "\n":
            lines.append("")
            column = 0
        elif not part.startswith("\x1b"):
            lines[-1] = lines[-1][:column] + part + lines[-1][column + 1 :]
            column += 1
    return lines


TEXT = "Sure! You can list the files of a folder sorted by size with the command that is shown below, biggest first."


@pytest.fixture
def narrow(monkeypatch):
    monkeypatch.setenv("COLUMNS", "21")
    return 20


@pytest.mark.parametrize("size", [1, 2, 3, 7, 200])
def test_lines_are_broken_between_words_however_the_text_arrives(narrow, size):
    pieces = [(TEXT[i : i + size], "drafter" if i < 40 else "base") for i in range(0, len(TEXT), size)]
    lines = on_a_screen(painted(pieces, Style.COLOURS, wrap=True))
    assert max(map(len, lines)) <= narrow
    assert " ".join(line.strip() for line in lines).split() == TEXT.split()


def test_lines_follow_a_window_whose_width_changes_in_the_middle_of_an_answer(monkeypatch):
    """They were as long as the window was when the answer began, and a narrower one broke them inside words."""
    out, lengths = io.StringIO(), {}
    monkeypatch.setenv("COLUMNS", "60")
    painter = Painter(out, Style.COLOURS, wrap=True)
    for columns in (60, 25, 45):
        monkeypatch.setenv("COLUMNS", str(columns))
        before = len(on_a_screen(out.getvalue()))
        for word in TEXT.split():
            painter.write(f" {word}", "base")
        new = on_a_screen(out.getvalue())[before:]  # without the line that was being written
        lengths[columns] = max(map(len, new))
    assert lengths[60] < 60 and lengths[25] < 25 and 25 < lengths[45] < 45, lengths
    assert " ".join(on_a_screen(out.getvalue())).split() == TEXT.split() * 3


def test_a_word_longer_than_the_line_is_broken_inside(narrow):
    lines = on_a_screen(painted([("see " + "x" * 50 + " there", "base")], Style.PLAIN, wrap=True))
    assert max(map(len, lines)) <= narrow and "".join(lines).replace(" ", "") == "see" + "x" * 50 + "there"


def test_line_breaks_of_the_answer_stay(narrow):
    assert on_a_screen(painted([("one\n\n  two", "base")], Style.PLAIN, wrap=True)) == ["one", "", "  two", ""]


def test_a_word_of_two_authors_keeps_both_colours_on_the_next_line(narrow, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    output = painted([("aaaa bbbb cccc dd", "drafter"), ("ddddd", "base")], Style.COLOURS, wrap=True)
    assert on_a_screen(output)[1] == "ddddddd"
    assert "\n\x1b[33mdd\x1b[34md" in output


def test_an_answer_always_ends_its_line_once():
    assert painted([("one\n", "base")], Style.PLAIN) == "one\n"
    assert painted([("one", "base")], Style.PLAIN) == "one\n"


def test_an_answer_without_text_writes_no_colours():
    assert "\x1b" not in painted([("", "drafter"), ("", "base")], Style.COLOURS)


def test_marks_close_where_the_base_takes_over_and_at_the_end():
    assert painted([("one", "drafter"), (" two", "base")], Style.MARKS) == "«one» two\n"
    assert painted([("one", "drafter")], Style.MARKS) == "«one»\n"


@pytest.mark.parametrize("raw", [False, True])
def test_marks_stand_around_text_and_not_around_line_breaks_at_its_ends(raw):
    """A draft that ended in a line break left the closing mark in a line of its own, without an end."""
    pieces = [("one\n", "drafter"), ("\n", "drafter"), ("\ntwo", "base")]
    assert painted(pieces, Style.MARKS, raw=raw) == "\u00abone\u00bb\n\n\ntwo\n"
    assert painted([("one\n", "drafter")], Style.MARKS, raw=raw) == "\u00abone\u00bb\n"
    assert painted([("\n", "drafter"), ("two", "base")], Style.MARKS, raw=raw) == "\ntwo\n"
    assert painted([("a\n", "drafter"), ("b", "drafter")], Style.MARKS, raw=raw) == "\u00aba\nb\u00bb\n"


def test_raw_hands_the_text_on_as_it_is():
    assert painted([("\x1b[2J\0", "base")], Style.PLAIN, raw=True) == "\x1b[2J\0\n"


@pytest.mark.parametrize("code", [*range(0x20), 0x7F, *range(0x80, 0xA0)])
def test_no_control_character_but_tab_and_line_break_reaches_a_terminal(code):
    assert (chr(code) in neutralise(f"a{chr(code)}b")) == (chr(code) in "\t\n")


def test_other_text_stays_as_it_is():
    text = "naïve 漢字 👩‍💻 שלום\tx\n"
    assert neutralise(text) == text


@pytest.mark.parametrize(
    "choice, environment, wanted",
    [
        (None, {}, False),  # a StringIO is no terminal
        (True, {"NO_COLOR": "1"}, True),
        (False, {}, False),
    ],
)
def test_a_choice_on_the_command_line_wins(monkeypatch, choice, environment, wanted):
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert colours_wanted(io.StringIO(), choice) is wanted
