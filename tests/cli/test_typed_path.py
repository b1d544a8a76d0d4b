"""Names of files as they are typed in a chat."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge_wsd.cli.typed_path import complete_path, typed_path


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.mark.parametrize(
    "typed, meant",
    [
        ("notes.txt", "notes.txt"),
        ("two words.txt", "two words.txt"),
        ('"two words.txt"', "two words.txt"),
        ("'two words.txt'", "two words.txt"),
        ("two\\ words.txt", "two words.txt"),
        (" 'drag and drop.txt' ", "drag and drop.txt"),
        ("it's.txt", "it's.txt"),
        ("it\\'s.txt", "it's.txt"),
        ("a#b.txt", "a#b.txt"),
        ("'a' 'b'", "'a' 'b'"),
        ("~/notes.txt", "home/notes.txt"),
        ("'~/my notes.txt'", "home/my notes.txt"),
        ("~nobody-of-this-name/x", "~nobody-of-this-name/x"),
    ],
)
@pytest.mark.skipif(os.name == "nt", reason="a backslash stands between folders there")
def test_quotes_backslashes_and_the_home_folder_mean_what_they_mean_in_a_shell(folder, typed, meant):
    assert folder / typed_path(typed) == folder / meant


@pytest.mark.parametrize("name", ['"quoted".txt', "back\\slash.txt", "it's.txt", "~tilde"])
def test_a_file_that_is_there_under_just_this_name_is_meant(folder, name):
    (folder / name).write_text("x")
    assert typed_path(name) == Path(name)


@pytest.mark.parametrize("typed", ["a\0b", "x" * 5000, "\udcff.txt"])
def test_a_name_that_no_file_can_have_is_no_accident(typed):
    assert str(typed_path(typed)) == typed


def completions(typed):
    return [text for text, _ in complete_path(typed)]


def test_a_name_is_completed_so_that_it_means_the_file(folder):
    for name in ("plain.txt", "two words.txt", "it's.txt", 'say "hi".txt', "back\\slash.txt"):
        (folder / name).write_text("x")
    (folder / ".hidden").write_text("x")
    (folder / "line\nbreak").write_text("x")
    (folder / "sub folder").mkdir()
    (folder / "sub folder" / "inner file").write_text("x")
    shown = completions("")
    assert {str(typed_path(text)) for text in shown} == {
        "plain.txt",
        "two words.txt",
        "it's.txt",
        'say "hi".txt',
        "back\\slash.txt",
        "sub folder",
    }
    assert completions("tw") == completions("two wo") == completions("two\\ wo") == ["two\\ words.txt"]
    assert completions('"tw') == ['"two words.txt"'] and completions("'tw") == ["'two words.txt'"]
    assert completions("sub\\ folder/") == completions("sub folder/") == ["sub\\ folder/inner\\ file"]
    assert completions("'sub") == ["'sub folder/"] and completions("'sub folder/") == ["'sub folder/inner file'"]
    assert completions(".h") == [".hidden"]


def test_a_folder_that_is_not_there_completes_to_nothing():
    assert completions("nowhere/x") == completions("\0/") == []


def test_the_home_folder_is_completed_with_its_sign(folder):
    (folder / "home").mkdir()
    (folder / "home" / "my notes.txt").write_text("x")
    assert completions("~/my") == ["~/my\\ notes.txt"]
