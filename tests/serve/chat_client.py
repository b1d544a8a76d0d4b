"""The least of a client: a whole answer, or the chunks of a stream."""

import json

QUESTION = "How do I list files by size?"
ASKED = {"messages": [{"role": "user", "content": QUESTION}]}


def post(server, body, path="/v1/chat/completions", status=200):
    with server.client() as client:
        answer = client.post(path, json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def stream(server, body, path="/v1/chat/completions"):
    """The events' data, without `[DONE]`, which must be the last."""
    with server.client() as client, client.stream("POST", path, json={**body, "stream": True}) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in answer.iter_lines() if line.startswith("data: ")]
    assert lines.pop() == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def text_of(chunks, index=0):
    deltas = [each["delta"] for chunk in chunks for each in chunk["choices"] if each["index"] == index]
    return "".join(delta.get("content") or "" for delta in deltas)


LONG = {
    "temperature": 2.0,
    "seed": 1,
    "logit_bias": {"<|im_end|>": -1000},
    "edge_wsd": {"stop_loops": False, "chunk": 1, "threshold": 1.0, "speculation": False},
}
"""Fields of a request whose answer takes as long as the context is."""


def lines_until_stopped(server, path, body):
    """The lines of a stream whose server is told to stop once the first of them has come."""
    with server.client() as client, client.stream("POST", path, json=body) as answer:
        lines = answer.iter_lines()
        found = [next(lines)]
        server.call(server.serve.limits.stop)
        return [line for line in [*found, *lines] if line and not line.startswith(":")]
