"""Models in a process of their own are served as those in memory are: with every route, and within the same limits."""

import json

import pytest

from tests.live_servers import demo_models, running_server

MOST = 40
"""Tokens of a prompt."""
MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hello <|im_end|>"}]
TOOL = {"type": "function", "function": {"name": "find_weather", "description": "Rain or sun?", "parameters": {}}}
LONG = "How do I list files by size? " * 20
SHORT = {"max_tokens": 3}


@pytest.fixture(scope="module")
def here(live_server):
    with live_server.client() as client:
        yield client


@pytest.fixture(scope="module")
def isolated():
    models = demo_models(loading={"isolate": True})
    with running_server(models, max_prompt_tokens=MOST) as server, server.client() as client:
        yield client


@pytest.mark.parametrize("model", ["demo", "demo:drafter"])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/tokenize", {"content": "n\u00e4h \U0001f642 <|im_end|>", "with_pieces": True}),
        ("/tokenize", {"content": ["ls", 5, "ls"], "add_special": True}),
        ("/tokenize", {"content": "<|im_end|>", "parse_special": False}),
        ("/tokenize", {"content": [10**9]}),
        ("/detokenize", {"tokens": [1, 5, 300, 7]}),
        ("/detokenize", {"tokens": []}),
        ("/detokenize", {"tokens": [-1]}),
        ("/apply-template", {"messages": MESSAGES}),
        ("/apply-template", {"messages": MESSAGES, "tools": [TOOL]}),
        ("/apply-template", {"messages": []}),
    ],
    ids=str,
)
def test_looking_into_the_models_finds_the_same(here, isolated, path, body, model):
    ours, theirs = (client.post(path, json={**body, "model": model}) for client in (here, isolated))
    assert (theirs.status_code, theirs.json()) == (ours.status_code, ours.json())


@pytest.mark.parametrize("model", ["demo", "demo:drafter"])
def test_a_tokenizer_is_told_of_as_well(here, isolated, model):
    ours, theirs = (client.get("/tokenizer_info", params={"model": model}) for client in (here, isolated))
    assert theirs.status_code == 200 and theirs.json() == ours.json()


@pytest.mark.parametrize("more", [{}, {"logprobs": 1}, {"logprobs": 1, "max_tokens": 0}, {"n": 2}], ids=str)
@pytest.mark.parametrize("stream", [False, True])
def test_tokens_are_written_on_and_echoed_as_well(here, isolated, more, stream):
    ids = here.post("/tokenize", json={"content": "<|im_end|>List the files"}).json()["tokens"]
    body = {"prompt": [ids, ids[1:]], "echo": True, "stream": stream, **SHORT, **more}
    ours, theirs = (texts_of(client.post("/v1/completions", json=body), stream=stream) for client in (here, isolated))
    assert theirs == ours and "List the files" in ours[0] and len(ours) == 2 * body.get("n", 1)


def texts_of(answer, *, stream):
    """Of each choice."""
    assert answer.status_code == 200
    if not stream:
        return [choice["text"] for choice in answer.json()["choices"]]
    texts = {}
    for line in answer.text.splitlines():
        for choice in json.loads(line[6:])["choices"] if line.startswith("data: {") else ():
            texts[choice["index"]] = texts.get(choice["index"], "") + choice["text"]
    return [texts[index] for index in sorted(texts)]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": LONG}], **SHORT}),
        ("/v1/completions", {"prompt": LONG, **SHORT}),
        ("/v1/completions", {"prompt": [5] * (MOST + 1), **SHORT}),
        ("/api/generate", {"prompt": LONG, "raw": True, "stream": False}),
    ],
    ids=str,
)
def test_the_limit_of_a_prompt_holds(isolated, path, body):
    answer = isolated.post(path, json=body)
    assert answer.status_code == 400
    assert f"at most {MOST} (--max-prompt-tokens)" in answer.text


def test_a_prompt_within_the_limit_is_answered(isolated):
    """Its bytes are more than the tokens that it may have, so it is counted."""
    text = LONG[: MOST + 20]
    assert isolated.post("/v1/completions", json={"prompt": text, **SHORT}).status_code == 200
