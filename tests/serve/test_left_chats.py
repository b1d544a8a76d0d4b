"""A client that leaves in the middle of an answer: the slot is free, and nothing is written on."""

import time

import httpx
import pytest

from tests.live_servers import decode_slowly
from tests.serve.chat_client import ASKED, LONG, QUESTION, post

CHATS = [
    ("/v1/chat/completions", {**ASKED, **LONG, "n": 4}),
    ("/v1/responses", {"input": QUESTION, **LONG}),
    ("/api/chat", {**ASKED, "stream": False, "edge_wsd": {**LONG["edge_wsd"], "logit_bias": LONG["logit_bias"]}}),
]


def wait_until(holds):
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def is_idle(server):
    return server.call(lambda: server.serve.limits.running) == 0


@pytest.fixture(autouse=True)
def _slow_decodes(monkeypatch):
    decode_slowly(monkeypatch)


@pytest.mark.parametrize(("path", "body"), CHATS)
def test_a_stream_that_is_left_frees_its_slot(server_with, path, body):
    server = server_with(max_queued=0)
    with server.client() as client, client.stream("POST", path, json={**body, "stream": True}) as answer:
        next(answer.iter_lines())
    wait_until(lambda: is_idle(server))
    assert post(server, {**ASKED, "max_tokens": 2})["choices"]
    # Four long answers would have kept the pair for seconds: what was left is not among what was finished.
    finished = server.serve.metrics.registry.get_sample_value("edge_wsd_answers_total", {"finish_reason": "length"})
    assert finished == 1


@pytest.mark.parametrize(("path", "body"), CHATS)
def test_a_whole_answer_that_nobody_waits_for_is_given_up(server_with, path, body):
    server = server_with(max_queued=0)
    post(server, {**ASKED, "max_tokens": 2})
    with pytest.raises(httpx.ReadTimeout), server.client() as client:
        client.post(path, json=body, timeout=0.2)
    wait_until(lambda: is_idle(server))
    finished = server.serve.metrics.registry.get_sample_value("edge_wsd_answers_total", {"finish_reason": "length"})
    assert finished == 1
