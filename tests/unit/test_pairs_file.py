"""The file of named pairs: every mistake is told with its line, and what a person wrote outlives what is added."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_wsd.errors import EdgeWsdError, PairsFileError
from edge_wsd.models.pairs.built_in import BUILT_IN_PAIRS, TERMS, Terms
from edge_wsd.models.pairs.file import PairsFile
from edge_wsd.models.pairs.known import default_name, find_pair, known_pairs
from edge_wsd.models.pairs.named_pair import NamedPair
from edge_wsd.models.pairs.toml_lines import line_of, parse
from edge_wsd.models.store.model_name import HubModel, parse_model_name

GOOD = '[pairs.a]\ndrafter = "x"\nbase = "y"\n'


@pytest.fixture
def file(tmp_path, monkeypatch) -> PairsFile:
    monkeypatch.setenv("EDGE_WSD_PAIRS", str(tmp_path / "settings" / "pairs.toml"))
    monkeypatch.setenv("EDGE_WSD_STORE", str(tmp_path / "store"))
    return PairsFile()


def write(file: PairsFile, text: str) -> None:
    file.path.parent.mkdir(exist_ok=True)
    file.path.write_bytes(text.encode())


def mistakes(file: PairsFile) -> list[PairsFileError]:
    """What is wrong with the file as a whole, or with its entries."""
    try:
        return list(file.read().problems.values())
    except PairsFileError as error:
        return [error]


@pytest.mark.parametrize(
    "text, place, told",
    [
        ("x = 1\n" + GOOD, "line 1", "unknown key 'x'; known keys: default, pairs"),
        ("# one\n\ndefualt = 'a'\n" + GOOD, "line 3", "did you mean 'default'?"),
        ('drafter = "x"\n', "line 1", "it belongs under [pairs.NAME]"),
        (GOOD + "\nwindwo = 3\n", "line 5", "unknown key 'windwo' of pair 'a'; did you mean 'window'?"),
        (GOOD + "threshold = 2\n", "line 4", "threshold must be between 0 and 1, not 2"),
        (GOOD + "threshold = nan\n", "line 4", "threshold must be between 0 and 1"),
        (GOOD + "threshold = '0.8'\n", "line 4", "threshold must be a real number"),
        (GOOD + "# a\n\nwindow = 0\n", "line 6", "window must be at least 1, not 0"),
        (GOOD + "window = true\n", "line 4", "window must be a whole number"),
        (GOOD + "max_draft = 1.5\n", "line 4", "max_draft must be a whole number"),
        ('[pairs.a]\ndrafter = ""\nbase = "y"\n', "line 2", "drafter of pair 'a' must be a file or REPO:TYPE, not ''"),
        ('[pairs.a]\ndrafter = "x"\nbase = 3\n', "line 3", "base of pair 'a' must be a text in quotes, not 3"),
        ('[pairs.a]\ndrafter = "x"\nbase = "a b"\n', "line 3", "does not name a model"),
        ('\n[pairs.a]\ndrafter = "x"\n', "line 2", "pair 'a' has no base"),
        (GOOD + "base_template = ''\n", "line 4", "base_template of pair 'a' must be chat, plain or a Jinja file"),
        ("pairs = 3\n", "line 1", "pairs must be tables"),
        ("[pairs]\na = 1\n", "line 2", "pair 'a' must be a table"),
        ('[pairs]\na = { drafter = "x", base = "y", window = 0 }\n', "line 2", "window must be at least 1"),
        ('[pairs."a b"]\ndrafter = "x"\nbase = "y"\n', "line 1", "'a b' is not a name for a pair"),
        ('[pairs.llama-3.1]\ndrafter = "x"\nbase = "y"\n', "line 1", '[pairs."llama-3.1"]'),
        ('\ndefault = "b"\n' + GOOD, "line 2", "default is 'b', which is not a pair; known pairs: a, demo"),
        ('default = "demmo"\n', "line 1", "did you mean 'demo'?"),
        ("default = 3\n", "line 1", "default must be the name of a pair in quotes, not 3"),
        (GOOD + "[other]\n[pairs.b]\nbase = 'y'\ndrafter = 'x'\n", "line 4", "unknown key 'other'"),
        (GOOD + "window =\n", "line 4, column 9", "unexpected end of the line"),
        ("[pairs.a]\ndrafter = x\n", "line 2, column 11", "with texts in quotes"),
        (GOOD + 'drafter = "z"\nwindow = 1\n', "line 4", 'key "drafter" already exists'),
        (GOOD + "[pairs.b]\nbase = 'x'\ndrafter = 'y'\n" + GOOD, "line 7", 'key "a" already exists'),
        ('#\n[pairs.a]\nbase = """\n\n\n\n\n"""\ndrafter = "x"\ndrafter = "y"\n', "line 10", "already exists"),
        ("x = " + "[" * 5000, "line 1, column 105", "nested"),
    ],
)
def test_a_mistake_is_told_with_its_file_its_line_and_what_was_expected(file, text, place, told):
    write(file, text)
    (error,) = mistakes(file)
    assert str(error).startswith(f"{file.path}, {place}: ") and told in str(error)
    assert file.path.read_text() == text


def test_text_that_is_not_utf_8_is_told_with_its_line(file):
    write(file, "")
    file.path.write_bytes(b"# a\n# caf\xe9\n")
    with pytest.raises(PairsFileError, match="line 2: is not valid UTF-8"):
        file.read()


@pytest.mark.parametrize("make", [lambda path: path.mkdir(), lambda path: path.write_bytes(b"#" * (2 << 20))])
def test_what_is_no_file_of_pairs_is_one_line(file, make):
    file.path.parent.mkdir()
    make(file.path)
    with pytest.raises(PairsFileError, match=str(file.path)):
        file.read()


@settings(max_examples=150)
@given(st.text(st.sampled_from("[]{}=.\"'#\n\\ abpairsdefault1\0\u20ac"), max_size=60))
def test_no_text_ends_in_anything_but_pairs_or_an_error_with_a_line(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes((GOOD + text).encode())
    for error in mistakes(PairsFile(path)):
        assert f"{path}, line " in str(error)


def test_a_file_that_is_not_there_has_no_pairs_and_the_demo_pair_is_the_default(file):
    assert file.read().pairs == {} and file.read().default is None
    assert default_name() == "demo" and not file.path.exists()


WRITTEN = """\
# my pairs
default = "one" # the usual

[pairs.one] # first
base = "y"      # big
drafter = "x"

# about two
[pairs.two]
drafter = "x"
base = "y"
# the end
"""


def test_comments_and_order_outlive_every_change(file):
    write(file, WRITTEN)
    file.add(NamedPair("three", "x", "y", threshold=0.5))
    assert file.path.read_text().startswith(WRITTEN)
    file.remove("three")
    file.set_default("two")
    assert file.path.read_text().strip() == WRITTEN.replace('"one" #', '"two" #').strip()


def test_replacing_a_pair_changes_its_keys_and_nothing_else(file):
    write(file, WRITTEN)
    file.add(NamedPair("one", "z", "y", window=3), replace=True)
    wanted = WRITTEN.replace('drafter = "x"\n', 'drafter = "z"\nwindow = 3\n', 1)
    assert file.path.read_text() == wanted
    file.add(NamedPair("one", "x", "y"), replace=True)
    assert file.path.read_text() == WRITTEN


def test_removing_a_pair_keeps_the_comment_above_the_next_one(file):
    write(file, WRITTEN)
    assert file.remove("one") is True
    left = file.path.read_text()
    assert "# about two\n[pairs.two]" in left and "# my pairs" in left and "first" not in left
    assert file.read().default is None and list(file.read().pairs) == ["two"]


def test_line_ends_of_windows_stay(file):
    write(file, WRITTEN.replace("\n", "\r\n"))
    file.add(NamedPair("three", "x", "y"))
    data = file.path.read_bytes()
    assert data.count(b"\n") == data.count(b"\r\n") > WRITTEN.count("\n")


def test_a_name_is_taken_once_unless_it_is_replaced(file):
    write(file, GOOD)
    with pytest.raises(PairsFileError, match="'a'; --force"):
        file.add(NamedPair("a", "x", "y"))
    with pytest.raises(PairsFileError, match="no pair 'b'"):
        file.remove("b")


def test_a_form_that_cannot_be_added_to_is_refused_and_not_damaged(file):
    text = 'pairs.a.drafter = "x"\npairs.a.base = "y"\n'
    write(file, text)
    with pytest.raises(PairsFileError, match="cannot be changed by a program"):
        file.add(NamedPair("b", "x", "y"))
    assert file.path.read_text() == text


def test_an_unknown_default_can_be_repaired_but_not_made(file):
    write(file, 'default = "gone"\n' + GOOD)
    with pytest.raises(PairsFileError, match="default is 'gone'"):
        default_name()
    file.add(NamedPair("b", "x", "y"))
    file.set_default("demo-other")
    assert default_name() == "demo-other"
    with pytest.raises(PairsFileError, match="default is 'nope'"):
        file.set_default("nope")
    assert default_name() == "demo-other"


BROKEN = '[pairs.bad]\ndrafter = "x"\nwindwo = 3\n'


def test_one_bad_entry_blocks_no_pair_but_its_own(file):
    """It blocked them all, the demonstration pair included."""
    write(file, GOOD + BROKEN)
    assert find_pair("a").base == "y" and find_pair("demo").is_built_in and default_name() == "demo"
    assert "bad" not in known_pairs()
    with pytest.raises(PairsFileError, match="line 6: unknown key 'windwo'"):
        find_pair("bad")
    file.set_default("a")
    assert default_name() == "a"
    with pytest.raises(PairsFileError, match="'bad'; --force"):
        file.add(NamedPair("bad", "x", "y"))
    file.add(NamedPair("c", "x", "y"))
    assert set(file.read().pairs) == {"a", "c"} and BROKEN in file.path.read_text()


@pytest.mark.parametrize("broken", [BROKEN, "[pairs]\nbad = 3\n", "[pairs]\nbad = { windwo = 3 }\n"])
def test_a_bad_entry_can_be_replaced_and_removed(file, broken):
    write(file, broken)
    file.add(NamedPair("bad", "x", "y"), replace=True)
    assert find_pair("bad").drafter == "x" and not mistakes(file)
    write(file, broken)
    assert file.remove("bad") is False
    assert file.read().pairs == {} and not mistakes(file)


def test_a_file_that_is_no_toml_blocks_no_pair_that_is_built_in(file, caplog):
    write(file, GOOD + "[pairs.\n")
    assert find_pair("demo").is_built_in and "line 4" in caplog.text
    for ask in (lambda: find_pair("a"), default_name, known_pairs):
        with pytest.raises(PairsFileError, match="line 4"):
            ask()


def test_a_crash_between_writing_and_renaming_leaves_the_old_file(file, monkeypatch):
    write(file, WRITTEN)

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        file.add(NamedPair("three", "x", "y"))
    assert file.path.read_text() == WRITTEN
    assert not list(file.path.parent.glob("*.partial")) and not list(file.path.parent.glob(".*.partial"))


def test_a_name_of_the_file_may_be_as_long_as_the_file_system_allows(file, tmp_path):
    """The name of its lock was longer."""
    longest = PairsFile(tmp_path / ("p" * 255))
    longest.add(NamedPair("b", "x", "y"))
    assert list(longest.read().pairs) == ["b"]


def test_a_file_that_is_read_only_is_not_replaced_and_that_is_known_beforehand(file, monkeypatch):
    """A file of another name may be put in its place, whatever its permissions are."""
    write(file, GOOD)
    file.require_writable()
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everything
    for change in (file.require_writable, lambda: file.add(NamedPair("b", "x", "y"))):
        with pytest.raises(PairsFileError, match=r"pairs\.toml: cannot be written: it is read-only; chmod u\+w"):
            change()
    assert file.path.read_text() == GOOD


def test_a_link_to_the_file_stays_a_link(file, tmp_path):
    write(file, GOOD)
    real = tmp_path / "dotfiles.toml"
    file.path.rename(real)
    file.path.symlink_to(real)
    file.add(NamedPair("b", "x", "y"))
    assert file.path.is_symlink() and "pairs.b" in real.read_text()


def test_two_processes_that_add_at_once_lose_nothing(file):
    script = (
        "import sys\nfrom edge_wsd.models.pairs.file import NamedPair, PairsFile\n"
        "for i in range(12): PairsFile().add(NamedPair(f'{sys.argv[1]}{i}', 'x', 'y'))"
    )
    writers = [subprocess.Popen([sys.executable, "-c", script, name]) for name in "pq"]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0]
    assert set(file.read().pairs) == {f"{name}{i}" for name in "pq" for i in range(12)}


def test_relative_paths_count_from_where_they_were_written(file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file.add(NamedPair("a", "d.gguf", "~/b.gguf", base_template="t.jinja"))
    pair = file.read().pairs["a"]
    assert (pair.drafter, pair.base) == (str(tmp_path / "d.gguf"), "~/b.gguf")
    assert pair.templates == {"base_template": str(tmp_path / "t.jinja")}
    assert pair.find_models() == (tmp_path / "d.gguf", Path.home() / "b.gguf")
    write(file, '[pairs.a]\ndrafter = "d.gguf"\nbase = "o/r:Q8_0"\n')
    by_hand = file.read().pairs["a"]
    assert (by_hand.drafter, by_hand.base) == (str(file.path.parent / "d.gguf"), "o/r:Q8_0")


def test_an_absent_key_is_no_setting(file):
    write(file, GOOD + "window = 3\n")
    pair = find_pair("a")
    assert pair.options == {"window": 3} and pair.templates == {} and not pair.is_built_in


def test_a_pair_in_the_file_hides_a_built_in_one_of_its_name(file):
    write(file, '[pairs.pilot-llama-8b]\ndrafter = "x"\nbase = "y"\n')
    assert find_pair("pilot-llama-8b").drafter == "x" and list(known_pairs()).count("pilot-llama-8b") == 1


def test_an_unknown_name_lists_the_known_ones_and_the_closest(file):
    with pytest.raises(PairsFileError, match=r"did you mean 'pilot-llama-8b'.*known pairs: demo, demo-other, pilot"):
        find_pair("Pilot-Lama-8B")


def test_built_in_pairs_name_models_of_known_terms_and_the_demo_ones_are_there(file):
    pilot = ["pilot-llama-8b", "pilot-llama-70b", "pilot-gemma-9b", "pilot-gemma-27b"]
    assert [*BUILT_IN_PAIRS] == ["demo", "demo-other", *pilot, "smollm2", "qwen-7b", "qwen-32b"]
    for pair in BUILT_IN_PAIRS.values():
        for text in (pair.drafter, pair.base):
            name = parse_model_name(text)
            assert (name.repo in TERMS and name.type) if isinstance(name, HubModel) else Path(text).is_file()


def test_pairs_that_are_not_the_papers_say_so_and_need_no_account(file):
    ours = [pair for pair in BUILT_IN_PAIRS.values() if "not the paper's" in pair.about]
    assert len(ours) == 3
    for pair in ours:
        repos = [text.partition(":")[0] for text in (pair.drafter, pair.base)]
        assert all(TERMS[repo] == Terms("Apache License 2.0", gated=False) for repo in repos)
        assert "songff/Pilot-3B" not in repos


def test_a_model_that_is_not_in_the_store_is_an_error_that_says_what_to_pull(file):
    with pytest.raises(EdgeWsdError, match="edge-wsd pull songff/Pilot-3B:Q8_0"):
        find_pair("pilot-llama-8b").find_models()


def test_a_line_is_found_for_every_kind_of_place():
    document = parse('a = """\nx\n"""\n[b.c]\nd = true\n[[e]]\nf = 1\n')
    assert [line_of(document, keys) for keys in (["a"], ["b"], ["b", "c"], ["b", "c", "d"], ["e"])] == [1, 4, 4, 5, 6]
    assert document.as_string() == 'a = """\nx\n"""\n[b.c]\nd = true\n[[e]]\nf = 1\n'
