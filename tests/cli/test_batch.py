"""`edge-wsd batch` over the embedded pair: order, errors of single lines, and going on after whatever ended it."""

from __future__ import annotations

import json
import random
import resource
import signal
import subprocess
import time
from typing import Any

import pytest

from edge_wsd.demo.examples import EXAMPLES

OF_TIME = ("stats", "settings")
"""Statistics count time, and what is proposed and reused by it."""
QUICK = ("--threads", "1", "--max-tokens", "30")


def written(path, lines):
    path.write_bytes(b"".join(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines))
    return path


@pytest.fixture
def questions(tmp_path):
    """24 of them, some with a conversation, and one line that cannot be read."""
    asked: list[Any] = [{"id": i, "prompt": f"{EXAMPLES[i % 6]}{' Please.' * (i // 6)}"} for i in range(23)]
    asked[3] = {"id": 3, "context": [{"role": "user", "content": EXAMPLES[3]}]}
    begun = [{"role": "user", "content": EXAMPLES[4]}, {"role": "assistant", "content": "Sure, I can"}]
    asked[4] = {"id": 4, "messages": begun}
    return written(tmp_path / "in.jsonl", [*asked[:10], b'{"prompt": "caf\xe9"}\n', *asked[10:]])


def answers_in(path):
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def without_times(answers):
    """What a line says of its answer, with confidences as exact as they are whatever is computed together."""
    kept = [{key: value for key, value in answer.items() if key not in OF_TIME} for answer in answers]
    for answer in kept:
        if answer.get("switch") is not None:
            answer["switch"]["confidence"] = pytest.approx(answer["switch"]["confidence"], abs=1e-3)
    return kept


def test_each_line_has_its_answer_in_order_and_four_at_once_write_the_same(program, questions, tmp_path):
    one = program("batch", "in.jsonl", "one.jsonl", *QUICK)
    four = program("batch", "in.jsonl", "four.jsonl", "--parallel", "4", *QUICK)
    assert one.returncode == four.returncode == 1  # a line has an error
    ones, fours = answers_in(tmp_path / "one.jsonl"), answers_in(tmp_path / "four.jsonl")
    assert without_times(fours) == without_times(ones)
    assert [answer["line"] for answer in ones] == list(range(1, 25))
    assert [answer.get("id") for answer in ones] == [*range(10), None, *range(10, 23)]
    assert "byte 0xe9" in ones[10]["error"] and "line 11" in one.stderr.splitlines()[-1]
    assert one.stderr.splitlines()[0].startswith("warning: 1 of 24 lines cannot be answered")
    alone = json.loads(program("run", EXAMPLES[0], "--json", *QUICK).stdout)
    for key in ("text", "finish_reason", "stop", "note", "seed"):
        assert ones[0][key] == alone[key]
    assert ones[0]["stats"].keys() == alone["stats"].keys() and "tokens" not in ones[0]
    times = [answer["stats"] for answer in (*ones, *fours) if "stats" in answer]
    assert all(0 < each["queued_s"] <= each["ttft_s"] <= each["total_s"] for each in times)
    assert ones[0]["switch"]["index"] == alone["switch"]["index"]


def test_killed_at_any_moment_and_run_again_it_writes_what_an_undisturbed_run_does(start, program, questions, tmp_path):
    arguments = ("batch", "in.jsonl", "out.jsonl", "--parallel", "2", "-q", *QUICK)
    out, rng, n_kills = tmp_path / "out.jsonl", random.Random(8), 0
    while n_kills < 4:
        size = out.stat().st_size if out.exists() else 0
        process = start(*arguments, real=True)
        while process.poll() is None and (not out.exists() or out.stat().st_size == size):
            time.sleep(0.001)
        time.sleep(0.02 * rng.random())
        process.kill()
        process.communicate()
        n_kills += 1
        if n_kills % 2:  # as if it had been killed in the middle of writing a line
            with out.open("r+b") as file:
                file.truncate(max(0, out.stat().st_size - rng.randrange(200)))
    assert program(*arguments).returncode == 1
    assert program("batch", "in.jsonl", "whole.jsonl", *QUICK).returncode == 1
    assert without_times(answers_in(out)) == without_times(answers_in(tmp_path / "whole.jsonl"))


def test_ctrl_c_keeps_what_is_done_and_tells_how_to_go_on(start, program, questions, tmp_path):
    out = tmp_path / "out.jsonl"
    process = start("batch", "in.jsonl", "out.jsonl", *QUICK, real=True)
    while not out.exists() or out.stat().st_size == 0:
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    before = out.read_bytes()
    n_done = before.count(b"\n")
    assert 1 <= n_done < 24 and before.endswith(b"}\n")
    assert f"stopped after {n_done} of 24 lines; the same command goes on from there" in told.decode()
    done = program("batch", "in.jsonl", "out.jsonl", *QUICK)
    assert f"out.jsonl: {n_done} of 24 lines answered already" in done.stderr
    assert out.read_bytes().startswith(before) and len(answers_in(out)) == 24
    # all is done: nothing is loaded or written any more, and the exit code is the same
    whole = out.read_bytes()
    again = program("batch", "in.jsonl", "out.jsonl", *QUICK)
    assert again.returncode == done.returncode == 1 and out.read_bytes() == whole
    assert again.stderr.splitlines()[-1] == done.stderr.splitlines()[-1]


def test_another_option_or_pair_is_refused_until_it_may_begin_anew(program, tmp_path):
    written(tmp_path / "in.jsonl", [{"prompt": EXAMPLES[0]}])
    assert program("batch", "in.jsonl", "out.jsonl", *QUICK).returncode == 0
    before = (tmp_path / "out.jsonl").read_bytes()
    for change in (["--threshold", "0.7"], ["--system", "Be brief."], ["--pair", "demo-other"], ["--tokens"]):
        done = program("batch", "in.jsonl", "out.jsonl", *QUICK, *change)
        assert done.returncode == 1 and "another pair or with other options" in done.stderr
        assert "--force" in done.stderr and done.stderr.count("\n") == 1
        assert (tmp_path / "out.jsonl").read_bytes() == before
    assert program("batch", "in.jsonl", "out.jsonl", *QUICK, "--chunk", "4", "--parallel", "2").returncode == 0
    assert (tmp_path / "out.jsonl").read_bytes() == before
    assert program("batch", "in.jsonl", "out.jsonl", *QUICK, "--tokens", "--force").returncode == 0
    (answer,) = answers_in(tmp_path / "out.jsonl")
    assert "".join(token["text"] for token in answer["tokens"]) == answer["text"]


def test_from_a_pipe_to_a_pipe(program, tmp_path):
    stdin = "".join(json.dumps({"prompt": question}) + "\n" for question in EXAMPLES[:2])
    done = program("batch", "-", "-", "-q", "--parallel", "2", *QUICK, stdin=stdin)
    assert (done.returncode, done.stderr) == (0, "")
    assert [json.loads(line)["prompt"] for line in done.stdout.splitlines()] == list(EXAMPLES[:2])
    # and with an own file, it goes on where a shorter pipe ended
    assert program("batch", "-", "out.jsonl", "-q", *QUICK, stdin=stdin.splitlines(keepends=True)[0]).returncode == 0
    assert program("batch", "-", "out.jsonl", "-q", *QUICK, stdin=stdin).returncode == 0
    assert without_times(answers_in(tmp_path / "out.jsonl")) == without_times(map(json.loads, done.stdout.splitlines()))


def test_a_question_is_answered_before_the_next_one_is_there(start):
    """From a program that asks one thing after the other."""
    process = start("batch", "-", "-", "-q", *QUICK, real=True, stdin=subprocess.PIPE)
    for question in EXAMPLES[:2]:
        process.stdin.write(json.dumps({"prompt": question}).encode() + b"\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["prompt"] == question
    process.communicate(timeout=60)
    assert process.returncode == 0


def test_ctrl_c_is_heard_while_nothing_comes_from_a_pipe(start):
    process = start("batch", "-", "-", *QUICK, real=True, stdin=subprocess.PIPE)
    process.stdin.write(json.dumps({"prompt": EXAMPLES[0]}).encode() + b"\n")
    process.stdin.flush()
    process.stdout.readline()
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    assert b"stopped after 1 line" in process.stderr.read()


@pytest.mark.parametrize(
    ("lines", "named"),
    [
        ([], "in.jsonl is empty"),
        ([b"\n \n"], "in.jsonl is empty"),
        ([b"[\n", b'{"prompt": "a"},\n', b"]\n"], "none of 3 lines can be answered; line 1: the line is not JSON"),
        ([[{"prompt": "a"}]], "none of 1 line can be answered; line 1: the line is not an object"),
        ([b"\x89PNG\r\n\x1a\n\0\0"], "can be answered; line 1"),
    ],
)
def test_a_file_without_any_question_is_refused_before_anything_is_loaded_or_written(program, tmp_path, lines, named):
    written(tmp_path / "in.jsonl", lines)
    done = program("batch", "in.jsonl", "out.jsonl")
    assert done.returncode == 1 and named in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "out.jsonl").exists()


def test_an_empty_pipe_is_told_as_an_empty_file_is(program, tmp_path):
    done = program("batch", "-", "out.jsonl", "-q", "--threads", "1", stdin="")
    assert done.returncode == 1 and done.stderr.startswith("edge-wsd: error: stdin is empty")
    assert done.stderr.count("\n") == 1 and not (tmp_path / "out.jsonl").exists()


def test_a_full_disk_is_told_and_gone_on_from(start, program, questions, tmp_path):
    """The operating system takes a part of a line then, and refuses the rest."""
    arguments = ("batch", "in.jsonl", "out.jsonl", *QUICK)
    process = start(*arguments, real=True, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000)))
    _, told = process.communicate(timeout=120)
    assert process.returncode == 1 and told.decode().splitlines()[-1].startswith("edge-wsd: error: out.jsonl: ")
    assert (tmp_path / "out.jsonl").stat().st_size == 2000
    assert program(*arguments).returncode == 1
    assert [answer["line"] for answer in answers_in(tmp_path / "out.jsonl")] == list(range(1, 25))


def test_whoever_has_seen_enough_may_close_the_pipe(start, questions):
    process = start("batch", "in.jsonl", "-", "-q", *QUICK, real=True)
    assert json.loads(process.stdout.readline())["id"] == 0
    process.stdout.close()
    assert process.wait(timeout=120) == 0 and process.stderr.read() == b""


def test_questions_are_never_written_over(program, tmp_path):
    written(tmp_path / "in.jsonl", [{"prompt": "a"}])
    (tmp_path / "link.jsonl").symlink_to("in.jsonl")
    for target in ("in.jsonl", "link.jsonl"):
        done = program("batch", "in.jsonl", target, "--force")
        assert done.returncode == 1 and "holds the questions" in done.stderr
    assert answers_in(tmp_path / "in.jsonl") == [{"prompt": "a"}]


def test_files_that_are_not_there_are_told_in_one_line(program, tmp_path):
    written(tmp_path / "in.jsonl", [{"prompt": "a"}])
    for arguments in (("no.jsonl", "out.jsonl"), (".", "out.jsonl"), ("in.jsonl", "."), ("in.jsonl", "no/out.jsonl")):
        done = program("batch", *arguments)
        assert done.returncode == 1 and done.stderr.count("\n") == 1 and done.stdout == ""


def test_a_prompt_that_is_too_long_is_an_error_of_its_line(program, tmp_path):
    written(tmp_path / "in.jsonl", [{"prompt": "word " * 2000}, {"prompt": EXAMPLES[0]}])
    done = program("batch", "in.jsonl", "out.jsonl", "--parallel", "2", *QUICK)
    long, good = answers_in(tmp_path / "out.jsonl")
    assert done.returncode == 1 and "context" in long["error"] and good["text"]
    assert "1 of 2 lines failed; line 1" in done.stderr


def test_a_person_sees_how_far_it_is_how_fast_and_how_long_it_will_take(at_terminal, questions):
    somebody = at_terminal("batch", "in.jsonl", "out.jsonl", "--parallel", "2", *QUICK, real=True)
    somebody.waits_for("/24", seconds=60)
    assert somebody.leaves(seconds=60) == 1
    assert "in.jsonl" in somebody.seen and "/s" in somebody.seen and "0:00:0" in somebody.seen
    assert "24 lines in" in somebody.lines[-2] or "24 lines in" in somebody.seen
    assert not any("\u2501" in line for line in somebody.lines), "the bar is gone in the end"
