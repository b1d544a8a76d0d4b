"""What is done inside a chat to its answers: again, back, side by side, elsewhere, with another pair."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest

from edge_wsd.cli.ui.chat_input import is_open_block, message_of
from edge_wsd.conversation_file import SavedConversation
from edge_wsd.decoding.options import Options
from edge_wsd.sessions.store import SessionStore

PROMPT = ">>> "


def script(folder: Path, name: str, body: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


# Messages of several lines


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("one\\\ntwo", "one\ntwo"),
        ("one\\\n\\\ntwo\\\\", "one\n\ntwo\\\\"),
        ("a \\\\\\\\ b", "a \\\\\\\\ b"),
        ('"""one\\\n/quit"""', "one\\\n/quit"),
        ("!multi\none\n/quit\n!end", "one\n/quit"),
        ("!multi 12\none\n!end\ntwo\n!end 12", "one\n!end\ntwo"),
        ("!MULTI\none\n !end ", "one"),
        ("plain", "plain"),
        ("a path C:\\\\", "a path C:\\\\"),
    ],
)
def test_a_message_of_several_lines_ends_where_it_should(typed, message):
    lines = typed.split("\n")
    assert all(is_open_block("\n".join(lines[:n])) for n in range(1, len(lines)))
    assert not is_open_block(typed) and message_of(typed) == message


def test_a_command_may_end_with_a_backslash():
    assert not is_open_block("/read C:\\folder\\")


def test_blocks_of_llm_and_trailing_backslashes_work_in_a_pipe(played):
    lines = "!multi 1\none\n/quit\n!end 1\ntwo \\\nthree\nfour\n"
    expected = ["one /quit", "two three", "four"]
    assert played("chat", "-q", stdin=lines).stdout.splitlines() == [f"Sure, you said {each}" for each in expected]


def test_a_person_ends_lines_with_a_backslash(person):
    somebody = person()
    somebody.line("one\\")
    somebody.waits_for("...")
    somebody.line("two")
    somebody.waits_for("Sure, you said one two")
    somebody.waits_for(PROMPT)
    somebody.line("!multi")
    somebody.line("three")
    somebody.line("!end")
    somebody.waits_for("Sure, you said three")


# Commands of other programs


FOREIGN = (
    ("/set parameter temperature 0.5", "temperature = 0.5"),
    ("/set parameter num_predict 100", "max_tokens = 100"),
    ("/set temperature=0.6", "temperature = 0.6"),
    ("/set temperature = 0.7", "temperature = 0.7"),
    ("/set --temp 0", "temperature = 0.0"),
    ("/set system Be brief.", "the system text holds from the next answer on"),
    ("/show system", "system: Be brief."),
    ("/set verbose", "a status line after each answer: on"),
    ("/set quiet", "a status line after each answer: off"),
    ("/set format json", 'json_schema = {"type": "object"}\ngrammar_from = start'),
    ("/set noformat", "json_schema = none\ngrammar_from = switch"),
    ("/show info", "  pair          demo"),
    ("/show parameters", "  max_tokens 100 "),
    ("one", ""),
    ("/show history", ">>> one\nSure, you said one"),
    ("/retry", "the answer stays the same"),
    ("/new", "starts anew"),
    ("/set pair demo-other", "from now on demo-other"),
)


def test_what_users_of_other_programs_type_works(played):
    done = played("chat", "-q", stdin="".join(f"{line}\n" for line, _ in FOREIGN))
    assert done.returncode == 0, done.stderr
    place = 0
    for line, shown in FOREIGN:  # each behind the one before
        place = done.stderr.find(shown, place)
        assert place >= 0, (line, done.stderr)


def test_fragments_and_patterns_go_with_the_next_message(played, tmp_path):
    for name in ("a.txt", "b.txt", "c.md"):
        (tmp_path / name).write_text(f"text of {name}\n")
    done = played("chat", "-q", stdin="!fragment a.txt b.txt\nhello\n/glob *.txt\nthere\n")
    both = "Sure, you said text of a.txt text of b.txt"
    assert done.stdout == f"{both} hello\n{both} there\n" and "of a.txt, b.txt" in done.stderr
    (tmp_path / "d.txt").write_bytes(b"\xff")
    done = played("chat", "-q", stdin="/glob *.txt\n")
    assert done.returncode == 1 and "d.txt is not valid UTF-8" in done.stderr


# Back, again, side by side


def test_undo_takes_one_turn_back(played):
    done = played("chat", "-q", stdin="one\ntwo\n/undo\n/show messages\n")
    assert "taken back: two" in done.stderr and ">>> one" in done.stderr and ">>> two" not in done.stderr
    done = played("chat", "-q", stdin="/undo\n")
    assert done.returncode == 1 and "nothing has been said" in done.stderr


def test_a_comparison_has_three_answers_and_leaves_the_conversation_alone(program):
    question = "How do I list files by size?"
    done = program("chat", "--marks", stdin=f"hello\n/compare {question}\n/show\n")
    assert done.returncode == 0, done.stderr
    headings = ["the drafter alone", "the base alone", "both: the drafter begins"]
    assert [done.stderr.index(each) for each in headings] == sorted(done.stderr.index(each) for each in headings)
    assert "\ndrafter alone \u00b7" in done.stderr and "\nbase alone \u00b7" in done.stderr
    assert re.search(r"messages +2\n", done.stderr)
    alone = program("chat", "-q", stdin=f"{question}\n").stdout
    again = program("chat", "-q", stdin=f"{question}\n/compare\n").stdout
    assert again.startswith(alone) and again.endswith(alone) and len(again) > 2 * len(alone)


def test_nothing_can_be_compared_or_copied_before_anything_was_said(played):
    for line, way in (("/compare", "/compare QUESTION"), ("/copy", "no answer to copy")):
        done = played("chat", "-q", stdin=f"{line}\n")
        assert done.returncode == 1 and way in done.stderr


def test_the_seed_of_an_answer_is_shown_and_can_be_kept(played):
    done = played("chat", "--temperature", "1", stdin="one\n/set seed last\n/set seed none\n/set seed 5\ntwo\n")
    assert "\u00b7 seed 7\n" in done.stderr and "seed = 7" in done.stderr and "seed 5\n" in done.stderr
    assert "seed" not in played("chat", stdin="one\n").stderr
    assert "/set temperature" in played("chat", "-q", stdin="one\n/set seed last\n").stderr


# Elsewhere


def test_an_answer_is_copied_by_a_program_of_the_system(played, tmp_path):
    tools = tmp_path / "tools"
    script(tools, "xclip", f'echo "$@" > {tmp_path}/arguments; cat > {tmp_path}/copied')
    done = played("chat", "-q", stdin="one\n/copy\n", DISPLAY=":9", PATH=f"{tools}:/usr/bin:/bin", WAYLAND_DISPLAY="")
    assert "the last answer, 18 characters, went to xclip" in done.stderr
    assert (tmp_path / "copied").read_text() == "Sure, you said one"
    assert (tmp_path / "arguments").read_text() == "-selection clipboard\n"


def test_without_one_it_goes_through_the_terminal_and_a_pipe_is_told(played, person, environment):
    environment.pop("DISPLAY", None)
    environment.pop("WAYLAND_DISPLAY", None)
    done = played("chat", "-q", stdin="one\n/copy\n")
    assert done.returncode == 1 and "there is no clipboard here; install wl-clipboard, xclip or xsel" in done.stderr
    somebody = person()
    somebody.line("one")
    somebody.waits_for("switch after")
    somebody.waits_for(PROMPT)
    somebody.line("/copy")
    somebody.waits_for("if it allows that (OSC 52)")
    assert f"\x1b]52;c;{base64.b64encode(b'Sure, you said one').decode()}\x07" in somebody.raw


def test_a_message_is_written_in_the_editor(person, environment, tmp_path):
    editor = script(tmp_path / "tools", "editor", f'cat "$1" > {tmp_path}/before; printf "written there\\n" > "$1"')
    environment["EDITOR"], environment["VISUAL"] = str(editor), str(editor)
    somebody = person()
    somebody.line("one")
    somebody.waits_for("Sure, you said one")
    somebody.waits_for(PROMPT)
    somebody.line("/edit")
    somebody.waits_for("Sure, you said written there")
    assert (tmp_path / "before").read_text().strip() == ""
    somebody.waits_for(PROMPT)
    somebody.line("/edit last")
    somebody.waits_for("Sure, you said written there")
    assert (tmp_path / "before").read_text().strip() == "written there"
    somebody.waits_for(PROMPT)
    somebody.line("/show messages")
    somebody.waits_for(">>> one\nSure, you said one\n\n>>> written there\nSure, you said written there\n\n")


def test_an_editor_that_saves_nothing_asks_nothing(person, environment, tmp_path):
    environment["EDITOR"] = environment["VISUAL"] = str(script(tmp_path / "tools", "editor", "true"))
    somebody = person()
    somebody.line("/edit")
    somebody.waits_for("so nothing is asked")


# Another pair


def test_the_pair_is_changed_inside_and_what_was_said_stays(program):
    lines = "How do I list files by size?\n/pair demo-other\n/show\nAnd only directories?\n/pair\n"
    done = program("chat", "--window", "4", stdin=lines)
    assert done.returncode == 0, done.stderr
    assert "from now on demo-other: drafter-other.gguf begins, base.gguf finishes" in done.stderr
    assert re.search(r"pair +demo-other\n", done.stderr) and re.search(r"messages +2\n", done.stderr)
    assert "window 4" in done.stderr and re.search(r"others +demo, ", done.stderr)
    assert len(done.stdout.splitlines()) > 4


def test_options_that_nobody_has_set_become_those_of_the_new_pair(played, environment, tmp_path):
    environment["EDGE_WSD_PAIRS"] = str(tmp_path / "pairs.toml")
    (tmp_path / "pairs.toml").write_text(
        '[pairs.mine]\ndrafter = "d.gguf"\nbase = "b.gguf"\nthreshold = 0.5\nwindow = 9\n'
    )
    for name in ("d.gguf", "b.gguf"):
        (tmp_path / name).write_bytes(b"GGUF")
    two = played("chat", "-q", stdin="/pair d.gguf b.gguf\n/show\n").stderr
    assert "from now on d.gguf begins, b.gguf finishes" in two and re.search(r"pair +d \+ b\n", two)
    done = played(
        "chat", "-q", stdin="/set window 3\n/pair mine\n/set threshold\n/set window\n/pair demo\n/set threshold\n"
    )
    assert done.returncode == 0, done.stderr
    assert re.findall(r"(threshold|window) = (\S+):", done.stderr) == [
        ("threshold", "0.5"),
        ("window", "3"),
        ("threshold", "0.8"),
    ]


def test_a_pair_that_cannot_be_loaded_leaves_the_present_one(at_terminal, environment, tmp_path):
    environment["EDGE_WSD_PAIRS"] = str(tmp_path / "pairs.toml")
    (tmp_path / "pairs.toml").write_text('[pairs.bad]\ndrafter = "bad.gguf"\nbase = "bad.gguf"\n')
    (tmp_path / "bad.gguf").write_bytes(b"GGUF" + bytes(100))
    somebody = at_terminal("chat", real=True)
    for line, shown in (
        ("hello", "switch after"),
        ("/pair nowhere", "there is no pair named 'nowhere'"),
        ("/pair bad", "bad.gguf: "),
        ("How do I list files by size?", "ls -lS"),
        ("/show", "demo"),
    ):
        somebody.waits_for(PROMPT)
        somebody.line(line)
        somebody.waits_for(shown)


# Completion


def test_names_of_pairs_and_sessions_complete_and_a_mistake_in_a_file_does_no_harm(monkeypatch, tmp_path):
    from edge_wsd.cli.chat_commands import complete

    monkeypatch.setenv("EDGE_WSD_SESSIONS", str(tmp_path / "sessions"))
    monkeypatch.setenv("EDGE_WSD_PAIRS", str(tmp_path / "pairs.toml"))
    monkeypatch.chdir(tmp_path)
    with SessionStore().open("work") as kept:
        kept.write(SavedConversation(None, (), Options()))
        assert [each.text for each in complete("/load w")] == ["work"]
    assert [each.text for each in complete("/pair demo-")] == ["demo-other"]
    (tmp_path / "talk.json").touch()
    for typed in ("/save t", "/save --force t", "/save --force  t", "/load t"):
        assert [(each.text, each.replaces) for each in complete(typed)] == [("talk.json", 1)], typed
    assert [each.text for each in complete("/save --f")] == ["--force "]
    (tmp_path / "pairs.toml").write_text("[pairs")
    assert complete("/pair demo-") == []
    monkeypatch.setenv("EDGE_WSD_SESSIONS", "/dev/null/nowhere")
    assert complete("/load w") == []
