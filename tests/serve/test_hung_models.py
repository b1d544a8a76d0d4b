"""Models in a process of their own that hangs: requests end in time all the same, and the next one is answered."""

import os
import signal
import sys
from contextlib import suppress
from dataclasses import replace

import httpx
import psutil
import pytest

from edge_wsd import child_process
from edge_wsd.isolation import model_process
from tests.live_servers import demo_models
from tests.serve.chat_client import ASKED, QUESTION, post
from tests.serve.test_serve_limits import eventually, is_idle

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs SIGSTOP")
ASKING = [
    ("/v1/chat/completions", {**ASKED, "max_tokens": 4}),
    ("/v1/responses", {"input": QUESTION, "max_output_tokens": 4}),
    ("/v1/completions", {"prompt": QUESTION, "max_tokens": 4}),
    ("/v1/completions", {"prompt": QUESTION, "max_tokens": 0, "echo": True, "logprobs": 1}),
    ("/api/chat", {**ASKED, "stream": False}),
    ("/api/generate", {"prompt": QUESTION, "raw": True, "stream": False, "options": {"num_predict": 4}}),
]


def hang(server):
    (pair,) = server.call(server.serve.models.in_memory).values()
    os.kill(pair.process_id, signal.SIGSTOP)


@pytest.fixture
def hanging(server_with, monkeypatch):
    """Starts a server whose models hang."""
    monkeypatch.setattr(model_process, "_SILENT_S", 0.3)

    def start(*, hang=hang, **settings):
        server = server_with(demo_models(loading={"isolate": True}), **settings)
        assert post(server, {**ASKED, "max_tokens": 2})["choices"]  # loads them
        if hang:
            hang(server)
        return server

    return start


def test_the_deadline_holds_and_the_next_request_is_answered(hanging):
    server = hanging(max_queued=0)
    settings = server.serve.limits._settings
    with server.client() as client:
        for number, (path, body) in enumerate(ASKING):
            if number:
                hang(server)
            server.serve.limits._settings = replace(settings, deadline_s=0.3)
            assert client.post(path, json=body).status_code == 504, path
            assert is_idle(server)
            server.serve.limits._settings = settings  # to start it again takes its time
            assert client.post(path, json=body).status_code == 200, path


@pytest.mark.parametrize("stream", [False, True])
def test_who_leaves_frees_the_slot(hanging, stream):
    server = hanging(max_queued=0)
    with pytest.raises(httpx.ReadTimeout), server.client() as client:
        client.post("/v1/chat/completions", json={**ASKED, "stream": stream}, timeout=0.3)
    eventually(lambda: is_idle(server))
    assert post(server, {**ASKED, "max_tokens": 2})["choices"]


def test_what_hangs_in_the_middle_of_an_answer_is_killed_with_no_further_request(hanging):
    server = hanging(hang=False)
    (pair,) = server.call(server.serve.models.in_memory).values()
    endless = {**ASKED, "stream": True, "max_tokens": 400, "edge_wsd": {"logit_bias": {"a": 1000}, "stop_loops": False}}
    hung = pair.process_id
    for _ in range(10):
        with server.client() as client, client.stream("POST", "/v1/chat/completions", json=endless) as live:
            next(live.iter_lines())
            hang(server)
        eventually(lambda: is_idle(server))
        with suppress(AssertionError):
            eventually(lambda: not psutil.pid_exists(hung), seconds=10)
            break
        os.kill(hung, signal.SIGCONT)  # on a busy machine its answer may be over before it is stopped
    assert not psutil.pid_exists(hung)


def test_the_server_stops_in_time(hanging, monkeypatch):
    server = hanging(shutdown_s=0.2)
    monkeypatch.setattr(model_process, "_SILENT_S", 600.0)
    with pytest.raises(httpx.ReadTimeout), server.client() as client:
        client.post("/v1/chat/completions", json=ASKED, timeout=0.3)
    server.server.should_exit = True
    eventually(server.loop.is_closed)


def test_the_server_stops_in_time_while_the_first_loading_hangs(server_with, monkeypatch, tmp_path):
    (tmp_path / "hanging.py").write_text("import time\ntime.sleep(600)\n")
    monkeypatch.setattr(child_process, "_program", [sys.executable, str(tmp_path / "hanging.py")])
    server = server_with(demo_models(loading={"isolate": True}), shutdown_s=0.2)
    with pytest.raises(httpx.ReadTimeout), server.client() as client:
        client.post("/v1/chat/completions", json=ASKED, timeout=0.3)
    server.server.should_exit = True
    eventually(server.loop.is_closed)
