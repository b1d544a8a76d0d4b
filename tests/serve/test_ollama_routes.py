"""Ollama's interface as it is on the wire; tests/clients has what Ollama's own client makes of it."""

import json

import pytest

from edge_wsd.models.pairs.named_pair import NamedPair
from edge_wsd.serve.served_models import ServedModels
from tests.live_servers import decode_slowly

QUESTION = [{"role": "user", "content": "How do I list files by size?"}]
CLOCK = {
    "type": "function",
    "function": {"name": "clock", "description": "Tells the time.", "parameters": {"type": "object", "properties": {}}},
}


@pytest.fixture
def http(live_server):
    with live_server.client() as client:
        yield client


def lines_of(answer):
    return [json.loads(line) for line in answer.text.splitlines()]


def ask(http, path="/api/chat", **fields):
    return http.post(path, json={"model": "demo", "messages": QUESTION, **fields})


def test_a_browser_gets_the_page_and_a_program_what_ollama_says(http):
    assert http.get("/", headers={"Accept": "text/html,*/*;q=0.8"}).headers["content-type"].startswith("text/html")
    for accept in ("*/*", "application/json"):
        assert http.get("/", headers={"Accept": accept}).text == "Ollama is running"
    for path in ("/", "/api/version", "/api/tags"):
        head = http.head(path)
        assert (head.status_code, head.content) == (200, b"")


def test_the_version_is_one_that_clients_take(http):
    version = http.get("/api/version").json()
    assert tuple(map(int, version["version"].split("."))) >= (0, 6, 4)
    assert version["edge_wsd"]


def test_a_stream_is_one_object_a_line_and_only_the_last_is_done(http):
    answer = ask(http)
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    *pieces, last = lines_of(answer)
    for piece in pieces:
        assert set(piece) == {"model", "created_at", "message", "done"}
        assert piece["message"]["role"] == "assistant"
        assert piece["message"]["content"]
    assert last["message"]["content"] == ""
    assert last["done_reason"] == "stop"
    assert {"total_duration", "load_duration", "prompt_eval_count", "eval_count", "eval_duration"} <= set(last)


@pytest.mark.parametrize(
    "kind", ["application/x-www-form-urlencoded", "application/octet-stream", "application/json", None]
)
def test_what_curl_sends_with_d_is_taken_for_json(http, kind):
    headers = {} if kind is None else {"Content-Type": kind}
    body = json.dumps({"model": "demo", "prompt": "hello", "stream": False})
    answer = http.post("/api/generate", content=body, headers=headers)
    assert answer.json()["response"]


def test_the_extension_tells_who_wrote_what_also_in_a_stream(http):
    whole = ask(http, stream=False, edge_wsd={}).json()
    lines = lines_of(ask(http, edge_wsd={}))
    extension = whole["edge_wsd"]
    assert "".join(token["text"] for token in extension["tokens"]) == whole["message"]["content"]
    told = [token for line in lines for token in line.get("edge_wsd", {}).get("tokens", [])]
    assert [token["author"] for token in told if token["text"]] == [
        token["author"] for token in extension["tokens"] if token["text"]
    ]
    assert None in [token["logprob"] for token in told]  # it is there, though nothing is known yet
    (switch,) = [line["edge_wsd"]["switch"] for line in lines if "switch" in line.get("edge_wsd", {})]
    assert switch["index"] == extension["switch"]["index"]
    assert lines[-1]["edge_wsd"]["stats"]["n_tokens"] == lines[-1]["eval_count"]
    assert "edge_wsd" not in ask(http, stream=False).json()


def test_probabilities_come_with_each_token_and_in_a_stream_the_same(http):
    whole = ask(http, stream=False, logprobs=True, top_logprobs=2).json()
    assert len(whole["logprobs"]) == whole["eval_count"]
    for token in whole["logprobs"]:
        assert -9999 <= token["logprob"] <= 1e-5
        assert len(token["top_logprobs"]) == 2
    told = [token for line in lines_of(ask(http, logprobs=True, top_logprobs=2)) for token in line.get("logprobs", [])]
    assert [token["token"] for token in told] == [token["token"] for token in whole["logprobs"]]
    assert [token["logprob"] for token in told] == pytest.approx(
        [token["logprob"] for token in whole["logprobs"]], abs=1e-3
    )
    assert "logprobs" not in ask(http, stream=False).json()


def test_options_of_weak_to_strong_decoding_are_taken(http):
    answer = ask(http, stream=False, edge_wsd={"switch_at": 3}).json()
    assert answer["edge_wsd"]["switch"] == {"index": 2, "reason": "forced", "confidence": None}


def test_a_raw_prompt_has_the_control_tokens_that_it_writes(http):
    dressed = "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n"
    body = {"model": "demo:drafter", "prompt": dressed, "raw": True, "stream": False}
    raw = http.post("/api/generate", json=body).json()
    chat = ask(http, model="demo:drafter", messages=[{"role": "user", "content": "hello"}], stream=False).json()
    assert raw["response"] == chat["message"]["content"]
    assert raw["prompt_eval_count"] == chat["prompt_eval_count"]
    as_text = http.post("/api/generate", json={**body, "edge_wsd": {"special": False}}).json()
    assert as_text["prompt_eval_count"] > raw["prompt_eval_count"]


def test_one_model_alone_answers_by_its_tag(http):
    for tag, author in (("base", "base"), ("drafter", "drafter")):
        answer = ask(http, model=f"demo:{tag}", stream=False, edge_wsd={}, options={"num_predict": 8}).json()
        assert {token["author"] for token in answer["edge_wsd"]["tokens"]} == {author}
        assert answer["prompt_eval_count"] > 0


def test_an_error_in_the_middle_of_a_stream_is_its_last_line(server_with):
    server = server_with()
    without_end = {"logit_bias": ["1=-inf"], "stop_loops": False}
    body = {"model": "demo:base", "messages": QUESTION, "options": {"num_predict": 450}, "edge_wsd": without_end}
    with server.client() as http, http.stream("POST", "/api/chat", json=body) as answer:
        lines = answer.iter_lines()
        assert "error" not in json.loads(next(lines))
        server.call(server.serve.limits.stop)
        *_, last = lines
    assert "stopping" in json.loads(last)["error"]


def test_what_is_wrong_before_the_first_word_is_a_status_and_one_sentence(http):
    for fields, status, named in (
        ({"model": "no-such-pair"}, 404, "no-such-pair"),
        ({"messages": "hello"}, 400, "messages"),
        ({"options": {"top_k": "many"}}, 400, "top_k"),
        ({"format": "yaml"}, 400, '"json" or a JSON schema'),
        ({"edge_wsd": {"thresold": 1}}, 400, "thresold"),
        ({"messages": [{"role": "user", "content": "hello", "images": ["aGVsbG8="]}]}, 400, "images"),
        ({"messages": [{"role": "user", "content": "word " * 2000}]}, 400, "context"),
    ):
        answer = ask(http, **fields)
        assert answer.status_code == status
        assert set(answer.json()) == {"error"}
        assert named in answer.json()["error"]


def test_keep_alive_decides_when_the_pair_leaves(server_with):
    server = server_with()
    with server.client() as http:

        def loaded():
            return [model["name"] for model in http.get("/api/ps").json()["models"]]

        assert loaded() == []
        assert http.post("/api/generate", json={"model": "demo", "keep_alive": 0}).json()["done_reason"] == "unload"
        assert loaded() == []
        assert http.post("/api/generate", json={"model": "demo", "keep_alive": -1}).json()["done_reason"] == "load"
        assert loaded() == ["demo:latest"]
        assert server.call(server.serve.models.loaded) == {"demo": None}
        assert http.post("/api/chat", json={"model": "demo", "keep_alive": "1h"}).json()["done_reason"] == "load"
        assert 3000 < server.call(server.serve.models.loaded)["demo"] <= 3600
        http.post("/api/chat", json={"model": "demo", "messages": [], "keep_alive": "0s"})
        wait_until(lambda: loaded() == [])


def test_a_pair_that_is_kept_for_longer_than_a_date_can_say_is_kept_for_ever(server_with):
    with server_with().client() as http:
        for seconds in (1e12, 1e300):
            assert http.post("/api/generate", json={"keep_alive": seconds}).json()["done_reason"] == "load"
            (loaded,) = http.get("/api/ps").json()["models"]
            assert loaded["expires_at"] > "2100"


def test_show_tells_all_there_is_if_asked(http):
    shown = http.post("/api/show", json={"model": "demo:base"}).json()
    assert "tensors" not in shown and not any(isinstance(value, list) for value in shown["model_info"].values())
    everything = http.post("/api/show", json={"name": "demo:base", "verbose": True}).json()
    info = everything["model_info"]
    assert len(info["tokenizer.ggml.tokens"]) == info["llama.vocab_size"]
    assert {key: value for key, value in info.items() if not isinstance(value, list)} == shown["model_info"]
    sizes = {one["name"]: one["shape"] for one in everything["tensors"]}
    assert sizes["token_embd.weight"] == [info["llama.embedding_length"], info["llama.vocab_size"]]


@pytest.mark.parametrize(("asked", "name"), [("demo:latest", "demo"), ("demo:drafter", "demo:drafter")])
def test_show_calls_a_model_what_it_is_asked_by(http, asked, name):
    """Copilot and others show the basename to their users, and leave out a model that has none."""
    assert http.post("/api/show", json={"model": asked}).json()["model_info"]["general.basename"] == name


def wait_until(holds):
    """It is let go a moment later. Ends by the clock, so that a failure says so."""
    import time

    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_request_that_names_no_model_is_answered_by_the_servers_own_pair(http):
    answer = http.post("/api/chat", json={"messages": QUESTION, "stream": False, "options": {"num_predict": 4}}).json()
    assert answer["model"] == "demo"
    assert http.post("/api/generate", json={}).json()["done_reason"] == "load"


def test_a_client_that_leaves_in_the_middle_makes_room_for_the_next(server_with, monkeypatch):
    decode_slowly(monkeypatch)
    server = server_with(parallel=1)
    without_end = {"logit_bias": ["1=-inf"], "stop_loops": False}
    body = {"model": "demo:base", "messages": QUESTION, "options": {"num_predict": 450}, "edge_wsd": without_end}
    with server.client() as http:
        with http.stream("POST", "/api/chat", json=body) as answer:
            next(answer.iter_lines())
            assert server.call(lambda: server.serve.limits.running) == 1
        assert ask(http, stream=False, options={"num_predict": 4}).status_code == 200
        assert server.call(lambda: server.serve.limits.running) == 0


def test_a_damaged_pair_does_not_hide_the_others(tmp_path, server_with):
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(b"GGUF, but no more than that")
    server = server_with(ServedModels(NamedPair("damaged", str(damaged), str(damaged))))
    with server.client() as http:
        names = [model["name"] for model in http.get("/api/tags").json()["models"]]
        assert "demo:latest" in names
        assert "damaged:latest" not in names
        shown = http.post("/api/show", json={"model": "damaged"})
        assert shown.status_code == 500
        assert "damaged.gguf" in shown.json()["error"]
        damaged.unlink()
        assert "damaged.gguf" in http.post("/api/show", json={"model": "damaged"}).json()["error"]


def test_tools_that_the_template_cannot_show_are_refused_clearly(http):
    answer = ask(http, tools=[CLOCK])
    assert answer.status_code == 400
    assert "tools" in answer.json()["error"]
    assert ask(http, tools=[], stream=False).status_code == 200
    assert http.post("/api/show", json={"model": "demo"}).json()["capabilities"] == ["completion"]


def test_the_key_is_asked_for_here_too(server_with):
    with server_with(api_keys=("secret",)).client() as http:
        refused = ask(http)
        assert refused.status_code == 401
        assert "key" in refused.json()["error"]
        assert http.get("/api/tags", headers={"Authorization": "Bearer secret"}).status_code == 200
