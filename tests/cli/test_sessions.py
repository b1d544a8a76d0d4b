"""`chat --session` and `edge-wsd sessions`: what was said is there again, whatever ended the program."""

from __future__ import annotations

import json
import os
import random
import re
import select
import shutil
import subprocess
import time

import pytest

from edge_wsd.sessions.store import SessionStore

QUESTIONS = ("How do I list files by size?", "How much disk space is left?", "hello")


@pytest.fixture
def store(tmp_path, environment):
    environment["EDGE_WSD_SESSIONS"] = str(tmp_path / "sessions")
    return SessionStore(tmp_path / "sessions")


def test_a_session_goes_on_where_it_was_left(played, store):
    done = played("chat", "--session", "work", stdin="/set window 3\n/system Short.\none\n")
    assert "a new session: work, kept after every turn" in done.stderr
    done = played("chat", "--session", "work", stdin="/show\n/show messages\ntwo\n")
    assert "2 messages loaded from the session work, a system text, window 3" in done.stderr
    assert ">>> one\nSure, you said one\n" in done.stderr and "session       work" in done.stderr
    assert [message.content for message in store.read("work").messages][::2] == ["one", "two"]


OWN_PAIR = ("--drafter", "show-settings.gguf", "--base", "b.gguf")


def settings_of(done):
    """What the played pair was loaded with: the drafter's settings and the base's."""
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("ModelSettings(")]
    drafter, base = line.split(") ModelSettings(")
    return drafter, base


@pytest.fixture
def models(tmp_path):
    for name in ("show-settings.gguf", "b.gguf"):
        (tmp_path / name).write_bytes(b"GGUF")
    (tmp_path / "form.jinja").write_text("{{ messages[0].content }}")


def test_a_session_comes_back_with_all_that_it_was_begun_with(played, store, models, tmp_path):
    """The options of an answer came back, and the context had its usual length again."""
    loading = ("--ctx", "64", "--base-threads", "3", "--no-mmap", "--isolate", "--drafter-template", "form.jinja")
    answers = ("--rule", "nudge", "--nudge-below", "0.3", "--temperature", "0.5", "--seed", "5", "--stop", "END")
    played("chat", "-q", "--session", "work", *OWN_PAIR, *loading, *answers, "--system", "Short.", stdin="one\n")
    again = played("chat", "--session", "work", stdin="/show\n/system\n")
    drafter, base = settings_of(again)
    assert "context_length=64" in drafter and "context_length=64" in base
    assert "threads=None" in drafter and "threads=3" in base and "mmap=False" in drafter
    whole = f"--base-threads 3 --ctx 64 --no-mmap --drafter-template {tmp_path / 'form.jinja'} --isolate"
    assert f"the models are loaded with {whole}\n" in again.stderr
    assert "temperature 0.5, seed 5" in again.stderr and "rule nudge" in again.stderr and "Short." in again.stderr
    assert f"loaded with {whole}; system: Short." in played("sessions", "show", "work").stderr
    kept = store.read("work")
    assert kept.loading["isolate"] is True and kept.loading["base"]["threads"] == 3
    assert kept.pair == {"drafter": str(tmp_path / "show-settings.gguf"), "base": str(tmp_path / "b.gguf")}


def test_what_the_command_line_says_wins_over_a_session_and_stays(played, store, models):
    begun = ("--ctx", "64", "--base-threads", "3", "--isolate", "--overlap", "on", "--rule", "nudge")
    played("chat", "-q", "--session", "work", *OWN_PAIR, *begun, "--nudge-below", "0.3", stdin="one\n")
    given = ("--ctx", "128", "--no-isolate", "--overlap", "auto", "--nudge-below", "0.2", "--system", "Short.")
    done = played("chat", "--session", "work", *given, stdin="two\n")
    for again in (done, played("chat", "--session", "work", stdin="")):
        drafter, base = settings_of(again)
        assert "context_length=128" in drafter and "context_length=128" in base and "threads=3" in base
    now, before = "--base-threads 3 --ctx 128", "--base-threads 3 --ctx 64 --overlap on --isolate"
    assert f"the models are loaded with {now} instead of {before}\n" in done.stderr
    assert "given now: nudge_below 0.2 instead of 0.3, the system text" in done.stderr
    assert "given now" not in again.stderr and f"the models are loaded with {now}\n" in again.stderr
    assert "overlap" not in store.read("work").loading and "isolate" not in store.read("work").loading
    wrong = played("chat", "--session", "work", "--rule", "window", "--nudge-below", "0.2", stdin="")
    assert wrong.returncode == 2 and "--nudge-below belongs to the rule" in wrong.stderr


def test_the_settings_of_a_session_are_those_of_its_pair(played, store, models):
    """To name the same pair again changes nothing; another pair is loaded as the command line says."""
    played("chat", "-q", "--session", "work", *OWN_PAIR, "--ctx", "64", stdin="one\n")
    again = played("chat", "--session", "work", *OWN_PAIR, stdin="")
    assert all("context_length=64" in each for each in settings_of(again))
    other = played("chat", "--session", "work", "--pair", "demo", stdin="two\n")
    assert "the models are loaded with no options instead of --ctx 64" in other.stderr
    assert store.read("work").loading == {} and store.read("work").pair == {"name": "demo"}


def test_settings_that_do_not_exist_are_told_with_their_file(played, store, models):
    played("chat", "-q", "--session", "work", *OWN_PAIR, "--ctx", "64", stdin="one\n")
    path = store.path_of("work")
    whole = path.read_text()
    for wrong, why in (('"context_length": "64"', "context_length must be"), ('"context_width": 64', "context_width")):
        path.write_text(whole.replace('"context_length": 64', wrong))
        done = played("chat", "--session", "work", stdin="")
        assert done.returncode == 1 and str(path) in done.stderr and why in done.stderr and done.stderr.count("\n") == 1
    path.write_text(whole.replace('"loading": {', '"loading": {"overlap": 3, '))
    assert "is a damaged conversation" in played("chat", "--session", "work", stdin="").stderr


@pytest.mark.parametrize("flag", ["-c", "--continue"])
def test_the_session_that_was_used_last_goes_on(played, store, flag):
    done = played("chat", flag, stdin="one\n")
    assert done.returncode == 1 and "`edge-wsd chat --session NAME` begins one" in done.stderr
    for number, name in enumerate(("work", "play", "rest")):
        played("chat", "-q", "--session", name, stdin="one\n")
        os.utime(store.path_of(name), (1e9 + number, 1e9 + number))
    played("chat", "-q", "--session", "rest", stdin="two\n")
    assert "4 messages loaded from the session rest" in played("chat", flag, stdin="").stderr
    for wrong in (("--session", "work"), ("--load", str(store.path_of("work"))), ("4096",)):
        assert played("chat", flag, *wrong, stdin="").returncode == 2
    assert "the length of the context is --ctx 4096" in played("chat", "-c", "4096", stdin="").stderr


def test_what_is_changed_inside_is_kept_without_an_answer_too(played, store):
    played("chat", "-q", "--session", "work", stdin="one\ntwo\n/undo\n/set window 3\n")
    kept = store.read("work")
    assert [message.content for message in kept.messages] == ["one", "Sure, you said one"] and kept.options.window == 3
    played("chat", "-q", "--session", "work", stdin="/clear\n")
    assert store.read("work").messages == ()


def test_a_session_in_which_nothing_was_said_is_not_kept(played, store):
    played("chat", "-q", "--session", "work", stdin="/show\n")
    assert store.names() == []


def test_an_answer_that_failed_leaves_the_session_as_it_was(played, store):
    assert played("chat", "-q", "--session", "work", stdin="one\ntoo full\n").returncode == 1
    assert [message.content for message in store.read("work").messages] == ["one", "Sure, you said one"]


def test_two_chats_cannot_have_one_session(played, person, store):
    person("--session", "work").line("one")
    done = played("chat", "-q", "--session", "work", stdin="two\n")
    assert done.returncode == 1 and "the session 'work' is open in another program" in done.stderr


def test_a_conversation_becomes_a_session_inside(played, store):
    shown = played("chat", "-q", stdin="/session\none\n/session work\ntwo\n/session\n/save\n").stderr
    assert "kept in no session; /session NAME keeps it" in shown and "kept in the session work" in shown
    assert "session: work, kept after every turn" in shown and "the session work is kept" in shown
    assert len(store.read("work").messages) == 4
    done = played("chat", "-q", stdin="one\n/session work\n")
    assert done.returncode == 1 and "there is a session work already" in done.stderr


def test_the_conversation_of_a_session_can_be_loaded(played, store):
    played("chat", "-q", "--session", "work", stdin="one\n")
    assert "2 messages loaded from the session work" in played("chat", "-q", stdin="/load work\n").stderr
    assert "/pair demo-other goes on" in played("chat", "-q", stdin="/load demo-other\n").stderr


@pytest.mark.parametrize("name", ["../work", ".hidden", "a b", ""])
def test_a_name_that_is_none_is_told_in_one_line(played, store, name):
    done = played("chat", "-q", "--session", name, stdin="one\n")
    assert done.returncode == 1 and "is not a name for a session" in done.stderr and done.stdout == ""


def test_options_that_do_not_go_together_are_wrong_usage(played, store, tmp_path):
    assert played("chat", "--save-kv", stdin="").returncode == 2
    played("chat", "-q", "--session", "work", stdin="one\n/save talk.json\n")
    assert played("chat", "--session", "work", "--load", "talk.json", stdin="").returncode == 2
    played("chat", "-q", "--session", "new", "--load", "talk.json", stdin="two\n")
    assert len(store.read("new").messages) == 4


def test_a_damaged_session_is_told_and_left_alone(played, store):
    played("chat", "-q", "--session", "work", stdin="one\n")
    store.path_of("work").write_text("{")
    done = played("chat", "-q", "--session", "work", stdin="one\n")
    assert done.returncode == 1 and "is not a saved conversation" in done.stderr
    assert "choose another name, or `edge-wsd sessions rm work` deletes it" in done.stderr
    assert store.path_of("work").read_text() == "{"
    listed = played("sessions")
    assert listed.returncode == 1 and "(cannot be read)" in listed.stdout and "is not a saved" in listed.stderr


def test_sessions_are_listed_shown_renamed_and_removed(played, store):
    assert "no session has been kept yet" in played("sessions").stderr
    played("chat", "-q", "--session", "work", stdin="one\n")
    listed = played("sessions").stdout.splitlines()
    assert listed[0].split() == ["session", "messages", "pair", "last", "used", "begins", "with"]
    assert listed[1].split()[:3] == ["work", "2", "demo"] and listed[1].endswith("one")
    (entry,) = json.loads(played("sessions", "--json").stdout)["sessions"]
    assert (entry["name"], entry["n_messages"], entry["pair"], entry["first"]) == ("work", 2, "demo", "one")
    assert played("sessions", "show", "work", "--marks").stdout == ">>> one\n«Sure, you said» one\n"
    assert played("sessions", "rename", "work", "play").returncode == 0
    assert "there is no session 'work'" in played("sessions", "show", "work").stderr
    done = played("sessions", "rm", "play")
    assert done.returncode == 1 and "use --yes" in done.stderr and store.names() == ["play"]
    assert played("sessions", "rm", "play", "-y").returncode == 0 and store.names() == []


def test_deleting_a_session_is_asked_first(at_terminal, played, store):
    played("chat", "-q", "--session", "work", stdin="one\n")
    somebody = at_terminal("sessions", "rm", "work")
    somebody.waits_for("Delete the session work (2 messages)? [y/N]")
    somebody.types("n\r")
    somebody.waits_for("nothing was deleted")
    assert somebody.leaves() == 1 and store.names() == ["work"]
    somebody = at_terminal("sessions", "rm", "work")
    somebody.waits_for("[y/N]")
    somebody.types("y\r")
    somebody.waits_for("work is deleted")
    assert somebody.leaves() == 0 and store.names() == []


def test_nothing_about_sessions_is_wider_than_the_terminal(at_terminal, played, store):
    played("chat", "-q", "--session", "a-session-with-a-long-name", stdin=f"{'many words ' * 9}\n/set seed 5\n")
    for columns in (40, 80, 200):
        for arguments in ((), ("show", "a-session-with-a-long-name")):
            somebody = at_terminal("sessions", *arguments, columns=columns)
            assert somebody.leaves() == 0
            lines = [line for line in somebody.seen.split("\n") if not line.startswith("the sessions are in")]
            assert lines and max(map(len, lines)) < columns, lines


def test_a_session_is_exported_with_who_wrote_what(played, store, tmp_path):
    played("chat", "-q", "--session", "work", "--temperature", "1", stdin="one\n")
    text = played("sessions", "export", "work").stdout
    assert "# work\n\n## You\n\none\n\n## Answer\n\nSure, you said one\n" in text
    assert "drafter: `Sure, you said`; base: `one`" in text and "switch after 3 tokens" in text and "seed 7" in text
    assert played("sessions", "export", "work", "-").stdout == text and not (tmp_path / "-").exists()
    assert played("sessions", "export", "work", "talk.json").returncode == 0
    assert "2 messages loaded" in played("chat", "-q", stdin="/load talk.json\n").stderr
    exported = json.loads(played("sessions", "export", "work", "--json").stdout)
    assert exported["messages"][1]["written"]["spans"] == [["drafter", "Sure, you said"], ["base", " one"]]
    (tmp_path / "notes.md").write_text("my notes")
    done = played("sessions", "export", "work", "notes.md")
    assert done.returncode == 1 and (tmp_path / "notes.md").read_text() == "my notes"
    assert played("sessions", "export", "work", "notes.md", "--force").returncode == 0
    assert (tmp_path / "notes.md").read_text() == text


def test_a_session_comes_back_with_its_pair_and_what_the_models_had_in_memory(program, store):
    first = program("chat", "--session", "work", "--save-kv", "--pair", "demo-other", stdin=f"{QUESTIONS[0]}\n")
    assert "kept in memory.kv" in first.stderr and first.returncode == 0, first.stderr
    again = program("chat", "--session", "work", stdin=f"/show\n{QUESTIONS[1]}\n/stats\n")
    assert "pair          demo-other" in again.stderr and "is read again" not in again.stderr
    reused = [line for line in again.stderr.splitlines() if "'s prompt" in line]
    assert len(reused) == 2 and not any(", 0 of them reused" in line for line in reused), again.stderr
    memory = store.path_of("work").with_name("memory.kv")
    memory.write_bytes(memory.read_bytes()[:-100])
    damaged = program("chat", "--session", "work", stdin="hello\n")
    assert damaged.returncode == 0 and "is damaged" in damaged.stderr and damaged.stdout
    other = program("chat", "--session", "work", "--ctx", "512", stdin="/show\n")
    assert "the conversation is read again" in other.stderr and "another context of the drafter" in other.stderr
    program("chat", "--session", "work", stdin="/clear\n")
    assert memory.read_bytes() == b""
    anew = program("chat", "--session", "work", stdin="hello\n")
    assert "kept in memory.kv" in anew.stderr and "is read again" not in anew.stderr and memory.stat().st_size
    program("chat", "--session", "work", "--no-save-kv", stdin="hello\n")
    assert not memory.exists()


def test_what_the_models_have_in_memory_is_kept_after_every_turn(start, program, store):
    """It was kept when the chat was left, and a kill took it."""
    process = start("chat", "-q", "--session", "work", "--save-kv", real=True, stdin=subprocess.PIPE)
    memory, n_bytes = store.folder / "work" / "memory.kv", 0
    for question in QUESTIONS[:2]:
        process.stdin.write(f"{question}\n".encode())
        process.stdin.flush()
        end = time.monotonic() + 60
        while not memory.exists() or memory.stat().st_size <= n_bytes:  # a longer text has a larger one
            assert time.monotonic() < end and process.poll() is None
            time.sleep(0.02)
        n_bytes = memory.stat().st_size
    process.kill()
    process.wait()
    again = program("chat", "--session", "work", stdin=f"{QUESTIONS[2]}\n/stats\n")
    reused = [int(n) for n in re.findall(r"'s prompt +\d+ tokens, (\d+) of them reused", again.stderr)]
    assert len(reused) == 2 and min(reused) > 60 and "is read again" not in again.stderr, again.stderr


def test_memory_that_cannot_be_kept_is_told_once_and_the_conversation_goes_on(program, store):
    (store.folder / "work" / "memory.kv").mkdir(parents=True)
    lines = "".join(f"{question}\n" for question in QUESTIONS)
    done = program("chat", "--session", "work", "--save-kv", "--isolate", stdin=lines)
    assert done.returncode == 0 and len(store.read("work").messages) == 6, done.stderr
    assert done.stderr.count("what the models have in memory was not kept") == 1
    assert "memory.kv: cannot be written" in done.stderr


def test_the_question_outlives_a_kill_in_the_middle_of_its_answer(start, played, store):
    process = start("chat", "-q", "--session", "work", stdin=subprocess.PIPE)
    process.stdin.write(b"one\nslow\n")
    process.stdin.flush()
    heard = b""
    while b"slow" not in heard:  # it is being written
        heard += os.read(process.stdout.fileno(), 1)
    process.kill()
    process.wait()
    assert [message.content for message in store.read("work").messages] == ["one", "Sure, you said one", "slow"]
    done = played("chat", "--session", "work", "--max-tokens", "4", stdin="/regen\n/show messages\n")
    assert "the last one has no answer yet, and /regen writes it" in done.stderr
    assert done.stdout == "Sure, you said slow\n" and len(store.read("work").messages) == 4


def test_another_message_takes_the_place_of_one_that_was_not_answered(played, store):
    from dataclasses import replace

    from edge_wsd.prompts.messages import Message

    played("chat", "-q", "--session", "work", stdin="one\n")
    with store.open("work") as kept:
        kept.write(replace(kept.conversation, messages=(*kept.conversation.messages, Message("user", "lost"))))
    done = played("chat", "-q", "--session", "work", stdin="two\n")
    assert "takes the place of the one that was not answered" in done.stderr
    assert [message.content for message in store.read("work").messages][::2] == ["one", "two"]


def test_a_session_that_cannot_be_written_does_not_end_a_conversation_with_a_person(person, played, store):
    """A full disk, or a folder that is gone, costs what would have been kept and no answer."""
    somebody = person("--session", "work")
    somebody.line("one")
    somebody.waits_for("switch after")
    somebody.waits_for(">>> ")
    shutil.rmtree(store.folder / "work")
    somebody.line("two")
    somebody.waits_for("the session work is not kept")
    somebody.waits_for("Sure, you said two")


@pytest.mark.slow
def test_a_kill_at_any_of_50_moments_loses_at_most_the_answer_being_written(start, store):
    """Each of 50 programs goes on with the session that the one before was killed in."""
    moments = random.Random(11)
    n_before = 0
    for _ in range(50):
        leaves, n_turns = moments.random() < 0.3, moments.randrange(1, 3)
        process = start(
            "chat", "--session", "work", "--save-kv", "--max-tokens", "12", real=True, stdin=subprocess.PIPE
        )
        asked = [*QUESTIONS[:n_turns], *([] if leaves else [QUESTIONS[n_turns]])]
        told = _carried_out(process, "/system\n", 1)
        # what is in the file is the memory of this conversation, or of its beginning
        assert b"is read again" not in told and b"Traceback" not in told, told
        began = time.monotonic()
        # each turn is kept before the next line is read, and only then does /system tell something
        _carried_out(process, "".join(f"{question}\n/system\n" for question in asked[:n_turns]), n_turns)
        a_turn_s = (time.monotonic() - began) / n_turns
        if not leaves:
            process.stdin.write(f"{asked[-1]}\n".encode())
        process.stdin.flush()
        if leaves:
            process.stdin.close()
        time.sleep(moments.random() * 1.5 * a_turn_s)
        process.kill()
        process.wait()
        messages = store.read("work").messages
        roles = [message.role for message in messages]
        assert roles == ["user", "assistant"] * (len(roles) // 2) + ["user"] * (len(roles) % 2)
        questions = [message.content for message in messages if message.role == "user"][n_before:]
        assert questions in (asked[:n_turns], asked), (questions, asked)
        assert len(messages) // 2 >= n_before + n_turns and all(message.content for message in messages)
        n_before = len(messages) // 2
        if n_before > 8:
            store.remove("work")
            n_before = 0


def _carried_out(process, text, n):
    """Hands the lines over, and returns what was told until the last of `n` commands /system was carried out."""
    process.stdin.write(text.encode())
    process.stdin.flush()
    heard, end = b"", time.monotonic() + 60
    while heard.count(b"system: (none)") < n:
        assert time.monotonic() < end, heard
        if select.select([process.stderr], [], [], 1)[0]:
            piece = os.read(process.stderr.fileno(), 65536)
            assert piece, heard
            heard += piece
    return heard
