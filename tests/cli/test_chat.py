"""`edge-wsd chat` over a played pair: from a pipe, and with a person at a terminal."""

from __future__ import annotations

import signal
import subprocess
import time

import pytest

from edge_wsd.conversation_file import SavedConversation

PROMPT = ">>> "


def test_each_line_of_a_pipe_is_a_message_and_answers_go_to_stdout(played):
    done = played("chat", stdin="one\n\ntwo\n")
    assert done.returncode == 0
    assert done.stdout == "Sure, you said one\nSure, you said two\n"
    assert done.stderr.count("switch after 3 tokens") == 2


def test_a_block_in_a_pipe_is_one_message(played):
    assert played("chat", "-q", stdin='"""one\n/quit\ntwo"""\n').stdout == "Sure, you said one /quit two\n"
    assert played("chat", "-q", stdin='"""one\ntwo').stdout == "Sure, you said one two\n"


def test_quiet_says_nothing_but_the_answer(played):
    done = played("chat", "-q", stdin="one\n")
    assert (done.stdout, done.stderr) == ("Sure, you said one\n", "")


def test_an_error_ends_a_piped_conversation_with_code_1(played):
    done = played("chat", "-q", stdin="one\ntoo full\ntwo\n")
    assert done.returncode == 1 and done.stdout == "Sure, you said one\n" and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "line",
    [b"caf\xe9\n", b"a\0b\n", b"/nope\n", b"/set nope 1\n", b"/set window x\n", b"/set stop 'x\n", b"/clear it\n"],
)
def test_a_bad_line_is_one_line_and_code_1(played, line):
    done = played("chat", "-q", stdin=line)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and done.stdout == ""


@pytest.mark.parametrize("name", ["quit", "exit", "bye", "q"])
def test_the_conversation_can_be_left(played, name):
    assert played("chat", "-q", stdin=f"one\n/{name}\ntwo\n").stdout == "Sure, you said one\n"


def test_a_path_is_a_message_and_no_command(played):
    assert played("chat", "-q", stdin="/etc/hosts is damaged\n").stdout.startswith("Sure, you said /etc/hosts")


def test_regen_writes_the_answer_again_and_clear_forgets(played):
    done = played("chat", "-q", stdin="one\n/regen\n/show messages\n/clear\n/show messages\n")
    assert done.stdout == "Sure, you said one\n" * 2
    assert done.stderr.count(">>> one\nSure, you said one\n") == 1 and "nothing has been said" in done.stderr


def test_set_changes_what_the_next_answer_does(played):
    done = played("chat", "-q", stdin="one two\n/set max-tokens 4\none two\n/set max_tokens default\none two\n")
    assert done.stdout.splitlines() == ["Sure, you said one two", "Sure, you said one", "Sure, you said one two"]


def test_set_alone_shows_every_option(played):
    from edge_wsd.cli.options import REPLY_FLAGS

    shown = played("chat", "-q", stdin="/set\n").stderr
    assert all(f"  {name} " in shown for name in REPLY_FLAGS)


@pytest.mark.parametrize(
    "line, shown",
    [
        ("speculation off", "speculation = off"),
        ("temperature 0.5", "temperature = 0.5"),
        ("switch_at 3", "switch_at = 3"),
        ("switch_at none", "switch_at = none"),
        ("stop \\n\\n", "stop = '\\n\\n'"),
        ("stop END 'two words' \"it's\"", "stop = 'END' 'two words' \"it's\""),
        ("stop # \\t", "stop = '#' '\\\\t'"),
        ("stop none", "stop = none"),
        ("mode base", "mode = base"),
        ("threshold", "threshold = 0.8"),
    ],
)
def test_set_understands_every_kind_of_value(played, line, shown):
    assert shown in played("chat", "-q", stdin=f"/set {line}\n").stderr


def test_a_conversation_can_be_saved_and_loaded(played, tmp_path):
    assert "saved to talk.json" in played("chat", "-q", stdin="one\n/save talk.json\n").stderr
    assert "2 messages loaded" in played("chat", "-q", stdin="/load talk.json\n").stderr
    assert played("chat", "-q", "--load", "talk.json", stdin="/show\n").stderr.count("messages      2") == 1


def test_options_given_with_load_win_over_the_saved_ones(played):
    played("chat", "-q", stdin="one\n/save talk.json\n")
    shown = played("chat", "-q", "--load", "talk.json", "--window", "3", "--system", "Short.", stdin="/show\n").stderr
    assert "window 3" in shown and "Short." in shown


def test_a_file_goes_in_front_of_the_next_message(played, tmp_path):
    (tmp_path / "notes.txt").write_text("some notes\n")
    done = played("chat", "-q", stdin="/read notes.txt\nwhat is it\nagain\n")
    assert done.stdout == "Sure, you said some notes what is it\nSure, you said again\n"


def test_save_destroys_nothing_but_a_conversation(played, tmp_path):
    """`/save base.gguf` replaced a model."""
    contents = {"base.gguf": b"GGUF" + bytes(100), "notes.txt": b"my notes", "data.json": b'{"format": "other"}'}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        done = played("chat", "-q", stdin=f"one\n/save {name}\n")
        assert done.returncode == 1 and name in done.stderr and "not a conversation" in done.stderr
        assert (tmp_path / name).read_bytes() == content
    assert "cannot be written" in played("chat", "-q", stdin="one\n/save .\n").stderr


def test_save_replaces_a_conversation_and_fills_an_empty_file(played, tmp_path):
    (tmp_path / "talk.json").touch()
    assert "place" not in played("chat", "-q", stdin="one\n/save talk.json\n").stderr
    assert "in the place of the conversation" in played("chat", "-q", stdin="two\n/save --force talk.json\n").stderr
    assert played("chat", "-q", "--load", "talk.json", stdin="/show messages\n").stderr.count("two") == 2


def test_a_conversation_is_replaced_by_its_own_continuation_alone(played, tmp_path):
    """`/save talk.json` in a chat that had just begun was the end of an old conversation."""
    assert "nothing has been said" in played("chat", "-q", stdin="/save new.json\n").stderr
    assert not (tmp_path / "new.json").exists()
    played("chat", "-q", stdin="one\n/save talk.json\ntwo\n/save talk.json\n")
    kept = (tmp_path / "talk.json").read_bytes()
    for lines, said in (
        ("/save talk.json", "nothing has been said"),
        ("/save --force talk.json", "nothing has been said"),
        ("other\n/save talk.json", "/save --force talk.json"),
        ("/load talk.json\n/clear\n/save talk.json", "nothing has been said"),
        ("other\n/save --force", "a file is missing"),
    ):
        done = played("chat", "-q", stdin=f"{lines}\n")
        assert done.returncode == 1 and said in done.stderr and (tmp_path / "talk.json").read_bytes() == kept
    for given, lines in ((["--load", "talk.json"], ""), ([], "/load talk.json\n")):
        done = played("chat", "-q", *given, stdin=f"{lines}three\n/save ./talk.json\n")
        assert done.returncode == 0 and "saved to talk.json" in done.stderr
    assert len(SavedConversation.read(tmp_path / "talk.json").messages) == 8


def test_a_refused_save_does_not_end_a_conversation_with_a_person(person, tmp_path):
    (tmp_path / "base.gguf").write_bytes(b"GGUF")
    somebody = person()
    somebody.line("hello")
    somebody.waits_for("said hello")
    somebody.line("/save base.gguf")
    somebody.waits_for("not a conversation")
    somebody.line("again")
    somebody.waits_for("said again")


@pytest.mark.parametrize("typed", ["my talk.json", '"my talk.json"', "my\\ talk.json", "'my talk.json'"])
def test_names_of_files_may_be_quoted_and_escaped(played, tmp_path, typed):
    done = played("chat", "-q", stdin=f"one\n/save {typed}\n/load {typed}\n/read {typed}\n")
    assert done.returncode == 0 and (tmp_path / "my talk.json").exists(), done.stderr
    assert "2 messages loaded from my talk.json" in done.stderr


def test_what_was_loaded_is_told(played, person, tmp_path):
    played("chat", "-q", "--window", "3", stdin="/system Short.\none\n/save talk.json\n")
    loaded = "2 messages loaded from talk.json, a system text, window 3"
    assert loaded in played("chat", "--load", "talk.json", stdin="").stderr
    assert loaded in played("chat", "-q", stdin="/load talk.json\n").stderr
    assert loaded not in played("chat", "-q", "--load", "talk.json", stdin="").stderr


def test_the_command_line_wins_over_a_file_until_the_option_is_set(played):
    """`/load` replaced the `--max-tokens` of the command line."""
    played("chat", "-q", "--window", "3", "--max-tokens", "9", "--system", "Short.", stdin="one\n/save talk.json\n")
    lines = "/set window 5\n/load talk.json\n/set max_tokens\n/set window\n/system\n"
    given = ("--max-tokens", "7", "--window", "4", "--system", "Mine.")
    shown = played("chat", "-q", *given, stdin=lines).stderr
    assert "max_tokens = 7" in shown and "window = 3" in shown and "system: Mine." in shown


def test_text_that_was_read_goes_with_the_conversation_that_is_forgotten(played, tmp_path):
    """`/clear` kept it for the next message."""
    (tmp_path / "notes.txt").write_text("some notes\n")
    done = played("chat", "-q", stdin="/read notes.txt\n/clear\nwhat is it\n")
    assert done.stdout == "Sure, you said what is it\n" and "notes.txt is dropped" in done.stderr
    done = played("chat", "-q", stdin="/read notes.txt\n/read none\nwhat is it\n")
    assert done.stdout == "Sure, you said what is it\n"


def test_text_that_was_read_outlives_an_answer_that_never_began(person, tmp_path):
    """A cancel before the first word lost it."""
    (tmp_path / "notes.txt").write_text("some notes\n")
    somebody = person()
    somebody.line("/read notes.txt")
    somebody.waits_for("your next message goes with")
    for message in ("reads", "too full"):
        somebody.waits_for(PROMPT)
        somebody.line(message)
        if message == "reads":
            somebody.waits_for("reads the prompt")
            somebody.types("\x03")
            somebody.waits_for("nothing was written")
        somebody.waits_for("notes.txt still goes with your next message")
    somebody.waits_for(PROMPT)
    somebody.line("hello")
    somebody.waits_for("Sure, you said some notes hello")
    somebody.waits_for(PROMPT)
    somebody.line("again")
    somebody.waits_for("Sure, you said again")


def test_a_mistake_of_ours_does_not_end_a_conversation_with_a_person(person):
    """It lost the conversation."""
    somebody = person()
    somebody.line("hello")
    somebody.waits_for("said hello")
    somebody.line("broken")
    somebody.waits_for("internal error: ZeroDivisionError")
    somebody.line("/save talk.json")
    somebody.waits_for("saved to talk.json")


def test_regen_says_when_the_answer_stays_the_same(played):
    stays = "the answer stays the same"
    assert f"at temperature 0 {stays}" in played("chat", "-q", stdin="one\n/regen\n").stderr
    assert (
        f"with the seed 5 {stays}"
        in played("chat", "-q", "--temperature", "1", "--seed", "5", stdin="one\n/regen\n").stderr
    )
    assert stays not in played("chat", "-q", "--temperature", "1", stdin="one\n/regen\n").stderr
    assert stays not in played("chat", "-q", stdin="one\n/set window 3\n/regen\n").stderr
    assert stays not in played("chat", "-q", stdin="one\n/system Short.\n/regen\n").stderr


def test_stats_tell_how_many_tokens_were_left_out_of_the_confidence(played):
    shown = played("chat", "-q", stdin="/set ignore_repeated on\none\n/stats\n").stderr
    assert "repeated, so not counted  1 of 3 drafted tokens" in shown
    assert "repeated" not in played("chat", "-q", stdin="one\n/stats\n").stderr


def test_stats_tell_the_seed(played):
    assert "seed                     7" in played("chat", "-q", "--temperature", "1", stdin="one\n/stats\n").stderr
    assert "none: greedy" in played("chat", "-q", stdin="one\n/stats\n").stderr


def test_the_system_text_is_shown_set_and_removed(played):
    done = played("chat", "-q", "--system", "Short.", stdin="/system\n/system Long.\n/system\n/system none\n/system\n")
    assert "system: Short." in done.stderr and "system: Long." in done.stderr and "system: (none)" in done.stderr


def test_stats_tell_how_much_was_reused(played):
    shown = played("chat", "-q", stdin="/stats\none\n/stats\n").stderr
    assert "no answer yet" in shown and "24 tokens, 13 of them reused" in shown


def test_the_status_line_can_be_switched(played):
    shown = played("chat", stdin="one\n/stats off\ntwo\n/stats on\nthree\n").stderr
    assert shown.count("switch after") == 2


def test_an_answer_that_was_stopped_in_a_loop_says_so_without_the_status_line_too(played):
    note = "stopped in a loop: the same 4 tokens came 30 times in a row"
    shown = played("chat", stdin="/stats off\nloops\n/stats\n/set stop_loops off\nloops\n").stderr
    assert shown.count(f"{note}; /set stop_loops off lets it go on") == 1
    assert "stop: stopped in a loop: the same 4 tokens came" in shown
    assert note not in played("chat", "-q", stdin="loops\n").stderr


def test_ctrl_c_ends_a_piped_conversation_with_130(start):
    process = start("chat", "-q", stdin=subprocess.PIPE)
    process.stdin.write(b"slow\nafter\n")
    process.stdin.close()
    assert process.stdout.read(1)
    process.send_signal(signal.SIGINT)
    out, err = process.stdout.read(), process.stderr.read()
    assert process.wait(timeout=30) == 130 and b"after" not in out and b"Traceback" not in err


def test_a_person_sees_two_colours_a_legend_and_a_status_line(person):
    somebody = person()
    assert "■ drafter begins  ■ base finishes" in somebody.seen
    somebody.line("hello there")
    somebody.waits_for("Sure, you said hello there")
    somebody.waits_for("switch after 3 tokens (confidence 0.90)")
    assert "\x1b[38;5;172mSure," in somebody.raw and "\x1b[38;5;33m hello" in somebody.raw


def test_marks_stand_in_for_colours(person):
    somebody = person("--marks", "--no-color")
    somebody.line("hello")
    somebody.waits_for("«Sure, you said» hello")
    assert "\x1b[3" not in somebody.raw.replace("\x1b[39m", "")


def test_ctrl_c_stops_the_answer_and_not_the_program(person):
    somebody = person()
    somebody.line("slow")
    somebody.waits_for("Sure, you said slow")
    somebody.types("\x03")
    somebody.waits_for("stopped")
    somebody.waits_for(PROMPT)
    somebody.line("still here")
    somebody.waits_for("said still here")


def test_ctrl_c_while_the_prompt_is_read_stops_it_as_well(person):
    somebody = person()
    somebody.line("reads")
    somebody.waits_for("reads the prompt")
    somebody.types("\x03")
    somebody.waits_for("nothing was written")
    somebody.waits_for(PROMPT)


def test_ctrl_c_at_the_prompt_clears_the_line_and_ctrl_d_leaves(person):
    somebody = person()
    somebody.types("half a quest")
    somebody.types("\x03")
    somebody.waits_for("Ctrl-D or /quit leaves")
    somebody.waits_for(PROMPT)
    somebody.types("\x04")
    assert somebody.leaves() == 0


def test_an_error_does_not_end_a_conversation_with_a_person(person):
    somebody = person()
    somebody.line("too full")
    somebody.waits_for("the context 512; use --ctx")
    somebody.line("/nope")
    somebody.waits_for("there is no command /nope")
    somebody.line("hello")
    somebody.waits_for("said hello")


def test_alt_enter_and_quotes_make_messages_of_several_lines(person):
    somebody = person()
    somebody.types("one\x1b\rtwo")
    somebody.line("")
    somebody.waits_for("said one two")
    somebody.line('"""three')
    somebody.line('four"""')
    somebody.waits_for("said three four")


def test_the_history_outlives_the_program(person):
    first = person()
    first.line("a memorable question")
    first.waits_for("switch after")
    first.waits_for(PROMPT)
    first.types("\x04")
    assert first.leaves() == 0
    second = person()
    second.types("\x1b[A")
    second.waits_for("a memorable question")


def test_a_home_that_cannot_be_written_costs_only_the_history(person, environment):
    environment["XDG_DATA_HOME"] = "/dev/null/nowhere"
    somebody = person()
    somebody.line("hello")
    somebody.waits_for("said hello")


def test_slash_completes_commands(person):
    somebody = person()
    somebody.types("/sy")
    somebody.waits_for("/system")


def test_control_sequences_of_a_model_are_made_visible(person):
    somebody = person()
    somebody.line("escape")
    somebody.waits_for("␛]0;title␇␛[2Ja␍b c\ufffdd")


def test_what_is_typed_ahead_waits_for_the_next_prompt_and_is_not_shown_in_the_answer(person):
    somebody = person()
    somebody.line("slow")
    somebody.waits_for("Sure, you said slow")
    somebody.types("typed ahead")
    somebody.waits_for("switch after")
    assert "typed" not in somebody.seen
    somebody.waits_for("typed ahead")


def test_what_is_typed_ahead_of_a_command_is_not_shown_in_what_it_says(person, environment, tmp_path):
    """Behind a command that took its time it stood in the middle of the next line."""
    (tmp_path / "clip").mkdir()
    slow = tmp_path / "clip" / "xclip"
    slow.write_text(f"#!/bin/sh\ntouch {tmp_path}/began\nwhile [ ! -e {tmp_path}/may_end ]; do sleep 0.05; done\n")
    slow.chmod(0o755)
    environment["PATH"] = f"{slow.parent}:/usr/bin:/bin"
    environment["DISPLAY"], environment["WAYLAND_DISPLAY"] = ":9", ""
    somebody = person()
    somebody.line("hello")
    somebody.waits_for("switch after")
    somebody.waits_for(PROMPT)
    somebody.line("/copy")
    end = time.monotonic() + 30
    while not (tmp_path / "began").exists():
        assert time.monotonic() < end
        somebody.rests(0.05)
    somebody.types("typed ahead")
    somebody.rests()
    (tmp_path / "may_end").touch()
    somebody.waits_for("went to xclip")
    assert "typed" not in somebody.seen
    somebody.waits_for("typed ahead")


def test_a_command_that_writes_an_answer_leaves_one_empty_line(person):
    somebody = person()
    somebody.line("hello")
    somebody.waits_for("switch after")
    somebody.waits_for(PROMPT)
    somebody.line("/regen")
    somebody.waits_for("switch after")
    somebody.waits_for(PROMPT)
    assert "\n\n\n" not in somebody.seen.split("/regen")[-1].split(PROMPT)[0]


def test_a_second_ctrl_c_ends_the_program_where_the_first_is_not_heard(person):
    somebody = person()
    somebody.line("deaf")
    somebody.waits_for("reading the prompt, 1 s")
    somebody.types("\x03")
    somebody.waits_for("reading the prompt, 3 s")  # so that the two do not become one
    somebody.types("\x03")
    assert somebody.leaves() == 130
    assert somebody.echoes()
