"""`edge-wsd run` over a played pair: what goes where, what is refused, and what stops it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from types import SimpleNamespace

import pytest

from edge_wsd.cli.pair_choice import PairChoice
from edge_wsd.llama.settings import ModelSettings
from edge_wsd.models.pairs.built_in import BUILT_IN_PAIRS


def test_the_answer_goes_to_stdout_and_everything_else_to_stderr(played):
    done = played("run", "hello there")
    assert done.returncode == 0
    assert done.stdout == "Sure, you said hello there\n"
    assert done.stderr.splitlines()[0] == "demo pair: a demonstration, not an assistant"
    assert "switch after 3 tokens (confidence 0.90)" in done.stderr and "60% of 5 tokens drafted" in done.stderr


def test_quiet_leaves_stderr_empty(played):
    done = played("run", "hello", "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "Sure, you said hello\n", "")


def test_an_answer_that_was_stopped_in_a_loop_says_so_and_how_to_let_it_go_on(played):
    note = "stopped in a loop: the same 4 tokens came 30 times in a row"
    done = played("run", "loops")
    assert (done.returncode, done.stdout) == (0, "Sure, you said loops\n")
    assert done.stderr.splitlines()[-1] == f"{note}; --no-stop-loops lets it go on"
    assert played("run", "loops", "-q").stderr == ""
    assert json.loads(played("run", "loops", "--json").stdout)["note"] == note
    assert "loop" not in played("run", "loops", "--no-stop-loops").stderr


def test_two_files_of_ones_own_are_no_demonstration(played):
    assert "demonstration" not in played("run", "hello", "--drafter", "a.gguf", "--base", "b.gguf").stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ["--rule", "nudge", "--threshold", "0.5"],
            "--threshold belongs to the rule 'window', and the rule is 'nudge'",
        ),
        (["--rule", "nudge", "--no-ignore-repeated"], "--ignore-repeated belongs to the rule 'window'"),
        (["--nudge-below", "0.5"], "--nudge-below belongs to the rule 'nudge', and the rule is 'window'"),
        (["--rule", "nudge", "--switch-at", "3"], '--switch-at belongs to the rule "window"'),
    ],
)
def test_an_option_of_the_other_rule_is_wrong_usage(played, arguments, told):
    """It was passed over."""
    for command in ("run", "trace"):
        done = played(command, "hello", *arguments)
        assert done.returncode == 2 and told in done.stderr and done.stderr.count("\n") == 1
    assert played("run", "hello", "--rule", "nudge", "--nudge-below", "0.5").returncode == 0


def test_where_a_grammar_begins_cannot_be_said_without_one(played):
    """It was passed over."""
    done = played("run", "hello", "--grammar-from", "start")
    assert done.returncode == 2 and "--grammar-from needs a grammar" in done.stderr and done.stderr.count("\n") == 1
    assert played("run", "hello", "--grammar-from", "start", "--grammar", 'root ::= "a"').returncode == 0


def test_json_is_one_object_with_the_contracted_fields(played):
    done = played("run", "hello", "--json")
    answer = json.loads(done.stdout)
    assert done.stdout.count("\n") == 1
    assert set(answer) == {"text", "finish_reason", "stop", "note", "seed", "switch", "tokens", "stats"}
    assert answer["text"] == "Sure, you said hello" and answer["finish_reason"] == "stop"
    assert answer["stop"] == "[User]" and answer["note"] is None and answer["seed"] is None
    assert answer["switch"] == {"index": 2, "reason": "confident", "confidence": 0.9}
    assert answer["tokens"][2] == {
        "id": 102,
        "text": " said",
        "source": "drafter",
        "logprob": -0.1,
        "confidence": 0.9,
    }
    assert answer["tokens"][3] == {"id": 103, "text": " hello", "source": "base", "logprob": -0.25, "confidence": None}
    assert answer["stats"]["ttft_s"] == 0.041 and answer["stats"]["base_reused_tokens"] == 13


def test_json_tells_which_tokens_were_left_out_of_the_confidence(played):
    tokens = json.loads(played("run", "hello", "--json", "--ignore-repeated").stdout)["tokens"]
    assert [token.get("repeated") for token in tokens] == [False, True, False, None]


def test_json_holds_no_infinity(played):
    assert json.loads(played("run", "hello", "--json").stdout)["tokens"][1]["logprob"] is None


def test_json_of_an_answer_without_a_switch_says_null(played):
    answer = json.loads(played("run", "hello", "--json", "--max-tokens", "2").stdout)
    assert answer["switch"] is None


@pytest.mark.parametrize("arguments", [["-"], []])
def test_a_prompt_may_come_from_stdin(played, arguments):
    assert played("run", *arguments, stdin="höllo\n").stdout == "Sure, you said höllo\n"


def asked(done):
    """The question as the played pair repeats it."""
    assert done.returncode == 0, done.stderr
    return done.stdout.removeprefix("Sure, you said ").rstrip("\n")


def test_text_from_a_pipe_stands_in_front_of_the_prompt(played):
    assert asked(played("run", "Describe this", stdin="+ one line\n")) == "+ one line Describe this"


def test_text_from_a_file_stands_in_front_of_the_prompt(start, tmp_path):
    (tmp_path / "notes.txt").write_text("some notes\n")
    with (tmp_path / "notes.txt").open("rb") as notes:
        out, _ = start("run", "What is it", stdin=notes).communicate(timeout=60)
    assert out == b"Sure, you said some notes What is it\n"


@pytest.mark.parametrize("stdin", ["", "\n \n"])
def test_a_pipe_without_text_leaves_the_prompt_as_it_is(played, stdin):
    assert asked(played("run", "hello", stdin=stdin)) == "hello"


def test_a_pipe_that_stays_open_is_told(start):
    process = start("run", "hello", stdin=subprocess.PIPE)
    assert process.stderr.readline().startswith(b"waiting for the end of stdin")
    assert process.communicate(timeout=60)[0] == b"Sure, you said hello\n"


def test_a_stdin_that_is_closed_or_a_socket_is_not_read(start):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert start("run", "hello", stdin=theirs).communicate(timeout=60)[0] == b"Sure, you said hello\n"
    process = start("run", "hello", stdin=None, preexec_fn=lambda: os.close(0))
    assert process.communicate(timeout=60)[0] == b"Sure, you said hello\n"


def test_a_pipe_without_valid_text_is_refused_beside_a_prompt_too(played):
    done = played("run", "Describe this", stdin=b"caf\xe9 au lait")
    assert done.returncode == 1 and "byte 0xe9 at offset 3" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "stdin, named",
    [
        (b"caf\xe9 au lait", "byte 0xe9 at offset 3"),
        (b"a\0b", "NUL"),
        (b"", "empty"),
        (b" \n\t\n", "empty"),
        (b"x" * (16 * 2**20 + 1), "16 MiB"),
    ],
)
def test_stdin_that_is_no_text_is_refused_in_one_line(played, stdin, named):
    done = played("run", "-", stdin=stdin)
    assert done.returncode == 1 and done.stdout == ""
    assert named in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize("prompt", ["", "  ", b"caf\xe9"])
def test_an_argument_that_is_no_text_is_refused_in_one_line(played, prompt):
    done = played("run", prompt)
    assert done.returncode == 1 and done.stderr.count("\n") == 1


def test_a_missing_prompt_at_a_terminal_is_wrong_usage(start):
    ours, theirs = os.openpty()
    process = start("run", stdin=theirs)
    out, err = process.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    assert process.returncode == 2 and out == b"" and b"PROMPT is missing" in err


def test_colours_are_only_for_a_terminal_unless_asked_for(played):
    assert "\x1b" not in played("run", "hello").stdout
    assert played("run", "hello", "--color").stdout == "\x1b[38;5;172mSure, you said\x1b[38;5;33m hello\x1b[0m\n"


def test_marks_stand_around_what_was_drafted(played):
    assert played("run", "hello", "--marks").stdout == "«Sure, you said» hello\n"


def terminal_output(start, *arguments, **environment):
    """What a person sees who runs this in a terminal."""
    ours, theirs = os.openpty()
    process = start(*arguments, stdout=theirs, stderr=subprocess.DEVNULL)
    os.close(theirs)
    seen = b""
    while True:
        try:
            chunk = os.read(ours, 65536)
        except OSError:  # Linux tells the end of a terminal that way
            break
        if not chunk:
            break
        seen += chunk
    os.close(ours)
    assert process.wait(timeout=60) == 0
    return seen.decode()


def test_a_terminal_gets_two_colours(start):
    seen = terminal_output(start, "run", "hello")
    assert seen == "\x1b[38;5;172mSure, you said\x1b[38;5;33m hello\x1b[0m\r\n"


def test_no_color_in_the_environment_is_heard(start, environment):
    environment["NO_COLOR"] = "1"
    assert terminal_output(start, "run", "hello") == "Sure, you said hello\r\n"


def test_control_sequences_of_a_model_do_not_reach_a_terminal(start):
    seen = terminal_output(start, "run", "escape", "--no-color")
    assert seen == "␛]0;title␇␛[2Ja␍b c\ufffdd\r\n"


def test_a_pipe_gets_the_answer_unchanged(played):
    assert played("run", "escape", "-q").stdout == "\x1b]0;title\x07\x1b[2Ja\rb c\x9bd\n"


def conversation(tmp_path, data):
    path = tmp_path / "messages.json"
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return str(path)


def test_a_conversation_can_be_given_as_messages(played, tmp_path):
    messages = [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}]
    done = played("run", "--messages", conversation(tmp_path, messages))
    assert done.returncode == 0 and done.stdout == "Sure, you said two\n"


@pytest.mark.parametrize(
    "data",
    [
        "no json",
        "[" * 100000,
        [],
        {"role": "user", "content": "x"},
        ["x"],
        [{"role": "user"}],
        [{"role": "user", "content": 5}],
        [{"role": "user", "content": "x", "name": "y"}],
        [{"role": "user", "content": "  "}],
    ],
)
def test_a_file_that_is_no_conversation_is_refused_in_one_line(played, tmp_path, data):
    done = played("run", "--messages", conversation(tmp_path, data))
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "messages.json" in done.stderr


def test_a_conversation_that_chat_saved_is_taken_with_its_options(played):
    played("chat", "-q", "--max-tokens", "3", "--system", "Short.", stdin="one\n/save talk.json\n")
    assert played("run", "-q", "--messages", "talk.json").stdout == "Sure, you said\n"
    assert played("run", "-q", "--messages", "talk.json", "--max-tokens", "2").stdout == "Sure, you\n"
    assert played("run", "-q", "--messages", "talk.json", "--system", "Other.").returncode == 0


def test_an_argument_in_utf_8_is_understood_in_any_locale(played):
    """It was told not to be UTF-8."""
    ascii_only = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = played("run", "-q", "--json", "größe".encode(), "--system", "größe".encode(), **ascii_only)
    assert done.returncode == 0 and "größe" in json.loads(done.stdout)["text"]


@pytest.mark.parametrize("role", ["user", "assistant", "system"])
def test_half_a_character_in_a_message_is_one_line(played, tmp_path, role):
    """It ended in an internal error."""
    data = f'[{{"role": "{role}", "content": "a\\ud800b"}}, {{"role": "user", "content": "x"}}]'
    done = played("run", "--messages", conversation(tmp_path, data))
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "internal" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", b"caf\xe9"],
        ["run", "hello", "--system", b"caf\xe9"],
        ["chat", "--system", b"caf\xe9"],
        ["run", "hello", "--stop", b"caf\xe9"],
        ["run", "hello", "--pair", b"caf\xe9"],
        ["run", "--messages", b"caf\xe9"],
        ["chat", "--load", b"caf\xe9"],
        [b"caf\xe9"],
        ["run", b"--caf\xe9"],
    ],
)
def test_bytes_that_are_no_text_are_told_in_one_line(played, arguments):
    """Some ended in an internal error."""
    done = played(*arguments)
    assert done.returncode in (1, 2) and done.stderr.count("\n") == 1
    assert "internal" not in done.stderr and done.stdout == ""


def test_a_missing_file_is_named(played):
    done = played("run", "--messages", "nowhere.json")
    assert done.returncode == 1 and "cannot read nowhere.json: No such file" in done.stderr


def test_prompt_and_messages_exclude_each_other(played, tmp_path):
    path = conversation(tmp_path, [{"role": "user", "content": "x"}])
    assert played("run", "hello", "--messages", path).returncode == 2


def test_the_system_text_is_given_once(played, tmp_path):
    path = conversation(tmp_path, [{"role": "system", "content": "x"}, {"role": "user", "content": "x"}])
    assert played("run", "--messages", path, "--system", "y").returncode == 2


def test_an_unknown_pair_is_an_error_that_lists_the_known_ones(played):
    done = played("run", "hello", "--pair", "nope")
    assert done.returncode == 1 and "demo, demo-other" in done.stderr and done.stderr.count("\n") == 1


def wait_for_output(process):
    assert process.stdout.read(1) != b""


def wait_for_the_answer(process):
    """Until it has begun, which `logs` tells."""
    while b"odd" not in process.stderr.readline():
        assert process.poll() is None


def test_ctrl_c_keeps_what_was_written_and_exits_with_130(start):
    process = start("run", "slow", "--no-color")
    wait_for_output(process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert out.endswith(b"\n") and b"Traceback" not in err and b"stopped" in err


def test_ctrl_c_while_the_prompt_is_read_exits_with_130(start):
    process = start("run", "logs reads")
    wait_for_the_answer(process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and b"Traceback" not in err and out.strip() == b""


def test_a_question_needs_no_quotes(played):
    done = played("run", "how", "do", "--max-tokens", "20", "I", "list files", "-q")
    assert done.returncode == 0 and done.stdout == "Sure, you said how do I list files\n"


def test_a_question_with_dashes_is_told_where_to_stand_and_answered_there(played):
    behind = "stands behind --: edge-wsd run -- ..."
    for words in (["how", "do", "I", "tar", "-czf", "x"], ["-v of what?"], ["what", "is", "--frob"]):
        done = played("run", *words)
        assert done.returncode == 2 and behind in done.stderr and done.stderr.count("\n") == 1
        assert played("run", "--", *words).stdout == played("run", stdin=" ".join(words)).stdout
    assert behind not in played("run", "--frob", "x").stderr


def test_a_question_that_begins_with_a_pair_is_answered_and_the_way_to_choose_it_told(played):
    done = played("run", "demo", "say hello")
    assert done.stdout == "Sure, you said demo say hello\n"
    assert "--pair demo chooses that pair" in done.stderr
    assert "--pair" not in played("run", "demo", "say hello", "--pair", "demo").stderr
    assert "--pair" not in played("run", "say", "demo").stderr


def test_ctrl_c_with_json_prints_the_object_of_what_there_is(start):
    process = start("run", "logs reads", "--json")
    wait_for_the_answer(process)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130 and json.loads(out)["finish_reason"] == "cancelled"


def test_a_reader_that_leaves_early_is_no_error(start):
    process = start("run", "long", "-q")
    wait_for_output(process)
    process.stdout.close()
    err = process.stderr.read()
    assert process.wait(timeout=30) == 0 and err == b""


def test_a_closed_stdout_is_one_line(start, environment, tmp_path):
    process = start("run", "hello", stdout=None, preexec_fn=lambda: os.close(1))
    _, err = process.communicate(timeout=30)
    assert process.returncode == 1 and err.count(b"\n") == 1 and b"stdout is closed" in err


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has a device that is always full")
def test_a_full_disk_is_one_line(start):
    with open("/dev/full", "wb") as full:
        process = start("run", "hello", "-q", stdout=full)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 1 and err.count(b"\n") == 1 and b"No space left" in err


def test_a_context_longer_than_trained_is_one_warning_per_model(played):
    done = played("run", "hello", "--base-ctx", "513", "--drafter-ctx", "512")
    warnings = [line for line in done.stderr.splitlines() if line.startswith("warning: ")]
    assert done.returncode == 0 and len(warnings) == 1
    assert "--ctx 513" in warnings[0] and "base was trained with 512" in warnings[0]
    assert played("run", "hello", "-q", "--ctx", "513").stderr == ""


@pytest.mark.parametrize(
    "asked, offload, warned",
    [
        ({"gpu_layers": 20}, False, ["--gpu-layers"]),
        ({"gpu_layers": 20}, True, []),
        ({"gpu_layers": -1}, False, []),
        ({"gpu_layers": 0}, False, []),
        ({"main_gpu": 3}, False, ["--main-gpu"]),
        ({"main_gpu": 0}, True, []),
    ],
)
def test_what_is_asked_of_a_gpu_that_is_not_there_is_one_warning(monkeypatch, asked, offload, warned):
    monkeypatch.setattr("edge_wsd.llama.library.supports_offload", lambda: offload)
    settings = {"drafter_settings": ModelSettings(), "base_settings": ModelSettings(**asked)}
    pair = SimpleNamespace(about=lambda _source: SimpleNamespace(n_ctx_train=512), plan=None)
    warnings = PairChoice(BUILT_IN_PAIRS["demo"], settings).warnings(pair)
    assert [warning.split()[0] for warning in warnings] == warned
    assert all("edge-wsd doctor" in warning for warning in warnings)
