"""`edge-wsd serve` as a program: what it says, whom it lets in, and how it ends."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager

import httpx
import pytest
from click.testing import CliRunner

from edge_wsd.cli.main import cli

PROGRAM = [sys.executable, "-m", "edge_wsd", "serve", "--pair", "demo", "--threads", "1", "--port", "0"]


@contextmanager
def serving(*options, environment=None, **more):
    """The program, and its address as soon as it has told it."""
    environment = {**os.environ, **(environment or {})}
    given = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **more}
    with subprocess.Popen([*PROGRAM, *options], env=environment, **given) as process:
        try:
            for line in process.stderr:
                if found := re.search(r"at (http://\S+) until Ctrl-C", line):
                    yield process, found[1]
                    break
            else:
                raise AssertionError("it told no address")
        finally:
            process.kill()


def refused(*options, environment=None):
    """What the program says about options that it does not take."""
    done = CliRunner(env=environment or {}).invoke(cli, ["serve", "--pair", "demo", *options])
    return done.exit_code, str(done.output or done.exception)


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)])
def test_it_answers_until_it_is_told_to_stop(number, code):
    with serving("-q") as (process, url):
        asked = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 5}
        answer = httpx.post(f"{url}/v1/chat/completions", json=asked, timeout=60).json()
        assert answer["choices"][0]["message"]["content"]
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (code, "", "")


@pytest.mark.skipif(sys.platform == "win32", reason="file descriptors are not inherited")
def test_a_parent_is_told_when_and_where_and_takes_the_server_along():
    reading, writing = os.pipe()
    with serving(f"--ready-fd={writing}", "--until-stdin-closes", stdin=subprocess.PIPE, pass_fds=[writing]) as (
        process,
        url,
    ):
        os.close(writing)
        with os.fdopen(reading) as pipe:
            told = json.loads(pipe.read())  # to the end: nobody else holds it open
        assert (told["url"], told["model"], told["pid"]) == (url, "demo", process.pid)
        assert httpx.get(f"{url}/health").status_code == 200
        process.stdin.close()
        assert process.wait(60) == 0


def test_the_key_may_come_from_a_file_or_the_environment(tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("first\n\n  second  \n", encoding="utf-8-sig")  # as editors on Windows write it
    for options, environment, right, wrong in (
        (("--api-key-file", str(keys)), {"EDGE_WSD_API_KEY": "third"}, ("first", "second"), "third"),
        ((), {"EDGE_WSD_API_KEY": "third"}, ("third",), "first"),
    ):
        with serving(*options, environment=environment) as (_, url):
            for key, status in (*((key, 200) for key in right), (wrong, 401)):
                assert httpx.get(f"{url}/v1/models", headers={"X-Api-Key": key}).status_code == status


def test_options_of_an_answer_hold_where_a_request_says_nothing():
    with serving("--threshold", "0.35", "--max-tokens", "3", "--mode", "base") as (_, url):
        asked = {"messages": [{"role": "user", "content": "hello"}], "edge_wsd": {}}
        answer = httpx.post(f"{url}/v1/chat/completions", json=asked, timeout=60).json()
        assert answer["usage"]["completion_tokens"] == 3
        assert {token["author"] for token in answer["edge_wsd"]["tokens"]} == {"base"}
        page = httpx.get(f"{url}/page/config").json()
    assert page["pairs"][0]["options"]["threshold"] == 0.35


def test_an_address_that_others_reach_needs_a_key():
    code, text = refused("--host", "0.0.0.0")
    assert code == 2
    assert "--host must be a loopback address" in text and "EDGE_WSD_API_KEY" in text


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--keep-alive", "soon"), "--keep-alive"),
        (("--deadline", "0"), "--deadline must be between 0.01 and"),
        (("--keep-alive", "-1", "--max-queued", "-1"), "--max-queued must be at least 0"),
        (("--max-body", "0"), "--max-body must be at least"),
        (("--max-prompt-tokens", "0"), "--max-prompt-tokens must be at least 1"),
        (("--allow-origin", "example.com"), "--allow-origin must be * or SCHEME://HOST"),
        (("--allow-host", "http://x"), "--allow-host must be a host's name"),
        (("--api-key", "two words"), "--api-key-file or EDGE_WSD_API_KEY must be one word"),
    ],
)
def test_a_value_that_makes_no_sense_is_named_by_its_flag(options, complaint):
    code, text = refused(*options)
    assert code == 2
    assert complaint in text and "two words" not in text


def test_a_file_without_keys_is_no_open_door(tmp_path):
    (tmp_path / "keys").write_text("\n \n")
    code, text = refused("--api-key-file", str(tmp_path / "keys"))
    assert code == 1 and "holds no key" in text


def test_a_port_that_is_taken_is_told_in_one_line():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run([*PROGRAM, "--port", str(port)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"127.0.0.1 port {port} cannot be listened on" in done.stderr and "--port" in done.stderr
    assert "Traceback" not in done.stderr
