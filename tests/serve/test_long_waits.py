"""An answer that is long in coming: the stream begins, and lines of comment keep it alive."""

import json
import threading

import pytest

from edge_wsd.llama.context import Context
from tests.serve.chat_client import ASKED


@pytest.fixture
def held_back(monkeypatch):
    """Nothing is decoded before this event is set."""
    may_run, run = threading.Event(), Context.run

    def waiting(*arguments, **more):
        may_run.wait(60)
        return run(*arguments, **more)

    yield may_run, lambda: monkeypatch.setattr(Context, "run", waiting)
    may_run.set()


@pytest.mark.parametrize(
    ("path", "body"),
    [("/v1/chat/completions", ASKED), ("/v1/responses", {"input": "How do I list files by size?"})],
)
def test_a_stream_begins_and_beats_while_the_prompt_is_read(server_with, held_back, path, body):
    may_run, hold = held_back
    server = server_with(heartbeat_s=0.05)
    with server.client() as client:
        client.post(path, json={**body, "max_tokens": 1})
        hold()
        with client.stream("POST", path, json={**body, "max_tokens": 8, "stream": True}) as answer:
            lines = (line for line in answer.iter_lines() if line)
            seen = []
            while not {":", "d"} <= {line[0] for line in seen}:  # both, before anything is decoded
                seen.append(next(lines))
            may_run.set()
            rest = list(lines)
    first = next(json.loads(line.removeprefix("data: ")) for line in seen if line.startswith("data: {"))
    assert first.get("type") == "response.created" or first["choices"][0]["delta"]["role"] == "assistant"
    assert rest
