"""What clients of llama.cpp's own server send, and what they expect back."""

import json

import pytest

httpx = pytest.importorskip("httpx")

QUESTION = [{"role": "user", "content": "How do I list files by size?"}]


@pytest.fixture
def http(address):
    with httpx.Client(base_url=address, timeout=60) as client:
        yield client


def test_they_wait_until_health_is_ok(http):
    for path in ("/health", "/v1/health"):
        assert http.get(path).json()["status"] == "ok"


def test_they_name_no_model_and_get_the_default_pair(http):
    answer = http.post("/v1/chat/completions", json={"messages": QUESTION})
    assert "ls" in answer.json()["choices"][0]["message"]["content"]


def test_they_leave_out_the_v1(http):
    body = {"messages": QUESTION, "max_tokens": 4}
    texts = [
        http.post(path, json=body).json()["choices"][0]["message"]["content"]
        for path in ("/v1/chat/completions", "/chat/completions", "/v1/chat/completions/")
    ]
    assert len(set(texts)) == 1
    assert [model["id"] for model in http.get("/models").json()["data"]]


def test_fields_of_their_own_are_no_error(http):
    body = {"messages": QUESTION, "max_tokens": 4, "cache_prompt": True, "id_slot": -1, "timings_per_token": True}
    assert http.post("/v1/chat/completions", json=body).status_code == 200


def test_they_read_the_length_of_the_context_and_the_template_from_props(http):
    props = http.get("/props").json()
    assert props["default_generation_settings"]["n_ctx"] == 1024
    assert props["total_slots"] >= 1
    assert "im_start" in props["chat_template"]


def test_texts_become_tokens_and_texts_again(http):
    tokens = http.post("/tokenize", json={"content": "ls -lS"}).json()["tokens"]
    assert http.post("/detokenize", json={"tokens": tokens}).json()["content"] == "ls -lS"
    pieces = http.post("/tokenize", json={"content": "ls -lS", "with_pieces": True}).json()["tokens"]
    assert [piece["id"] for piece in pieces] == tokens


def test_a_template_is_applied_without_an_answer(http):
    assert "How do I list files by size?" in http.post("/apply-template", json={"messages": QUESTION}).json()["prompt"]


def test_errors_have_a_message_and_a_type(http):
    answer = http.post("/v1/chat/completions", json={"messages": "hello"})
    assert answer.status_code == 400
    assert {"message", "type"} <= set(answer.json()["error"])


def test_an_interface_that_is_not_there_is_refused_in_json(http):
    for path in ("/completion", "/infill", "/v1/embeddings", "/slots"):
        answer = http.post(path, json={"prompt": "Hello"})
        assert answer.status_code in (404, 405, 501)
        assert answer.json()["error"]["message"]


def test_a_stream_is_server_sent_events_and_ends_with_done(http):
    body = {"messages": QUESTION, "stream": True, "max_tokens": 6}
    with http.stream("POST", "/v1/chat/completions", json=body) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in answer.iter_lines() if line.startswith("data: ")]
    assert lines[-1] == "data: [DONE]"
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
