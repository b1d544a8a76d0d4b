"""Routes that look at prompts have limits of their own: no answer waits for them."""

import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from edge_wsd.serve import app, prompt_routes
from tests.serve.chat_client import ASKED, post
from tests.serve.test_serve_limits import eventually

LONG = "x" * (prompt_routes._MOST_BYTES + 1)
MESSAGE = {"role": "user", "content": LONG}


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/tokenize", {"content": LONG}, 413),
        ("/tokenize", {"content": [LONG[1:], "x"]}, 413),
        ("/tokenize", {"content": [1] * (prompt_routes._MOST_IDS + 1)}, 400),
        ("/detokenize", {"tokens": [1] * (prompt_routes._MOST_IDS + 1)}, 400),
        ("/apply-template", {"messages": [MESSAGE]}, 413),
    ],
    ids=["text", "texts", "ids", "tokens", "messages"],
)
def test_more_than_is_looked_at_in_a_moment_is_refused(live_server, path, body, status):
    with live_server.client() as client:
        assert client.post(path, json=body).status_code == status


@pytest.fixture
def looking(monkeypatch):
    """Looking at a text takes until the event is set; how often it was begun."""
    begun, done, tokenized = [], threading.Event(), prompt_routes._tokenized

    def slowly(*given):
        begun.append(1)
        assert done.wait(60)
        return tokenized(*given)

    monkeypatch.setattr(prompt_routes, "_tokenized", slowly)
    monkeypatch.setattr(app, "MOST_BESIDE", 2)
    yield begun, done
    done.set()


def look(server, **more):
    return httpx.post(f"{server.url}/tokenize", json={"content": "ls"}, verify=False, **more)


def queued(server):
    return server.call(lambda: server.serve.beside.queued)


def test_few_wait_for_a_look_and_answers_do_not_wait_for_them(server_with, looking):
    begun, done = looking
    server = server_with(parallel=1, max_queued=0)
    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(look, server, timeout=60) for _ in range(3)]
        eventually(lambda: queued(server) == 2)
        refused = look(server)
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "queue_full")
        assert "retry-after" in refused.headers
        assert post(server, {**ASKED, "max_tokens": 2})["choices"]
        assert len(begun) == 1
        done.set()
        assert [each.result(60).status_code for each in asked] == [200] * 3


def test_who_leaves_before_the_look_is_not_looked_at(server_with, looking):
    begun, done = looking
    server = server_with()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(look, server, timeout=60)
        eventually(lambda: begun)
        with pytest.raises(httpx.ReadTimeout):
            look(server, timeout=0.2)
        eventually(lambda: queued(server) == 0)
        done.set()
        assert first.result(60).status_code == 200
    assert len(begun) == 1


def test_a_look_has_the_deadline_of_all_requests(server_with, looking):
    begun, done = looking
    server = server_with(deadline_s=2)  # it must begin within that time
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(look, server, timeout=60)
        eventually(lambda: begun)
        late = look(server)
        assert (late.status_code, late.json()["error"]["code"]) == (504, "deadline_exceeded")
        done.set()
        assert first.result(60).status_code == 504
