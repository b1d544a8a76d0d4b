"""What every client asks first: is it there, what can it do; and llama-server's way to look at prompts."""

import pytest


@pytest.fixture(scope="module")
def client(live_server):
    with live_server.client() as client:
        yield client


def test_a_server_tells_that_it_is_well(client):
    assert client.get("/health").json() == {"status": "ok"}
    assert client.head("/health").status_code == 200


def test_every_model_has_what_clients_look_for(client):
    answer = client.get("/v1/models").json()
    assert answer["object"] == "list"
    assert [card["id"] for card in answer["data"]][:3] == ["demo", "demo:base", "demo:drafter"]
    for card in answer["data"]:
        assert card["object"] == "model" and card["owned_by"] and card["created"] > 0
        assert None not in card.values()
        assert client.get(f"/v1/models/{card['id']}").json() == card


@pytest.mark.parametrize("name", ["nonsense", "demo:nonsense", "demo:base:base", "Demo"])
def test_an_unknown_model_is_told_by_name(client, name):
    answer = client.get(f"/v1/models/{name}")
    assert answer.status_code == 404
    error = answer.json()["error"]
    assert name.partition(":")[0] in error["message"]
    assert (error["code"], error["param"]) == ("model_not_found", "model")


@pytest.mark.parametrize(
    "path", ["/v1/models", "/models", "/v1/models/", "/models/", "/health", "/health/", "/v1/health", "/v1/health/"]
)
def test_bare_paths_and_last_slashes_are_understood(client, path):
    answer = client.get(path)
    assert answer.status_code == 200
    assert not answer.history  # some clients lose their body or key on the way to another place


@pytest.mark.parametrize("text", ["How do I list files by size?", "", " a", "näh 🙂", "<|im_end|> x"])
@pytest.mark.parametrize("model", [None, "demo:base", "demo:drafter"])
def test_tokens_become_the_text_again(client, text, model):
    tokens = client.post("/tokenize", json={"content": text, "model": model}).json()["tokens"]
    assert client.post("/detokenize", json={"tokens": tokens, "model": model}).json() == {
        "content": text,
        "prompt": text,
    }


def test_pieces_are_texts_or_bytes(client):
    tokens = client.post("/tokenize", json={"content": "ls 🙂", "with_pieces": True}).json()["tokens"]
    parts = [part["piece"] for part in tokens]
    assert any(isinstance(part, list) for part in parts)  # of the emoji
    whole = b"".join(part.encode() if isinstance(part, str) else bytes(part) for part in parts)
    assert whole.decode() == "ls 🙂"


def test_control_tokens_are_read_only_where_that_is_asked_for(client):
    read, spelt = (
        client.post("/tokenize", json={"content": "<|im_end|>", "parse_special": parse}).json()["tokens"]
        for parse in (True, False)
    )
    assert len(read) == 1 < len(spelt)


def test_texts_and_ids_may_be_mixed(client):
    alone = client.post("/tokenize", json={"content": "ls"}).json()["tokens"]
    mixed = client.post("/tokenize", json={"content": ["ls", 5, "ls"]}).json()["tokens"]
    assert mixed == [*alone, 5, *alone]


@pytest.mark.parametrize("route", ["tokenize", "detokenize"])
def test_an_id_that_there_is_not_is_refused(client, route):
    body = {"tokens": [10**9]} if route == "detokenize" else {"content": [10**9]}
    answer = client.post(f"/{route}", json=body)
    assert answer.status_code == 400
    assert "1000000000" in answer.json()["error"]["message"]


def test_a_conversation_is_shown_as_each_model_reads_it(client):
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hello"}]
    of_base, of_drafter = (
        client.post("/apply-template", json={"messages": messages, "model": model}).json()["prompt"]
        for model in ("demo", "demo:drafter")
    )
    assert "hello" in of_base and "hello" in of_drafter
    assert "[User]" in of_base and "[User]" not in of_drafter


def test_a_conversation_is_shown_with_its_tools(client):
    tool = {"type": "function", "function": {"name": "find_weather", "description": "Rain or sun?", "parameters": {}}}
    body = {"messages": [{"role": "user", "content": "hello"}], "tools": [tool]}
    shown, of_none = (
        client.post("/apply-template", json={**body, "tool_choice": choice}).json()["prompt"]
        for choice in ("auto", "none")
    )
    assert "find_weather" in shown and "find_weather" not in of_none
    assert client.post("/apply-template", json={**body, "tools": [{"type": "x"}]}).json()["error"]["param"] == "tools"


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/demo", "/models", "/health"])
def test_what_is_got_can_be_asked_for_without_its_body(client, path):
    answer = client.head(path)
    assert (answer.status_code, answer.content) == (200, b"")


def test_curl_need_not_say_that_it_sends_json(client):
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = client.post("/tokenize", content=b'{"content": "ls"}', headers=kind)
    assert answer.json() == client.post("/tokenize", json={"content": "ls"}).json()
