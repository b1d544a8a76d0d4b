"""Ollama's Python client, pointed at the server."""

import asyncio
import json

import pytest

ollama = pytest.importorskip("ollama")

QUESTION = [{"role": "user", "content": "How do I list files by size?"}]
N_FEW = {"num_predict": 6}


@pytest.fixture
def client(address):
    return ollama.Client(host=address)


def test_models_are_listed_with_tags_and_facts(client):
    models = {model.model: model for model in client.list().models}
    assert {"demo:latest", "demo:base", "demo:drafter"} <= set(models)
    pair, base, drafter = (models[f"demo:{tag}"] for tag in ("latest", "base", "drafter"))
    assert pair.size == base.size + drafter.size
    assert pair.details.format == "gguf"
    assert base.details.quantization_level == "Q8_0"
    assert base.details.parameter_size == "4.13M"
    assert len({model.digest for model in (pair, base, drafter)}) == 3


@pytest.mark.parametrize("name", ["demo", "demo:latest"])
def test_a_whole_answer_has_text_counts_and_durations(client, name):
    answer = client.chat(model=name, messages=QUESTION)
    assert "ls" in answer.message.content
    assert (answer.model, answer.message.role, answer.done, answer.done_reason) == (name, "assistant", True, "stop")
    assert answer.prompt_eval_count > 0
    assert answer.eval_count > 0
    assert answer.total_duration >= answer.eval_duration > 0
    assert answer.prompt_eval_duration > 0


def test_a_stream_says_what_the_whole_answer_says(client):
    lines = list(client.chat(model="demo", messages=QUESTION, stream=True))
    assert (
        "".join(line.message.content for line in lines)
        == client.chat(model="demo", messages=QUESTION)["message"]["content"]
    )
    assert [line.done for line in lines] == [False] * (len(lines) - 1) + [True]
    assert lines[-1].eval_count > 0
    assert len(lines) > 5


def test_a_system_prompt_and_earlier_turns_are_part_of_the_question(client):
    messages = [
        {"role": "system", "content": "Answer briefly."},
        *QUESTION,
        {"role": "assistant", "content": "ls -lS"},
        {"role": "user", "content": "And only directories?"},
    ]
    answer = client.chat(model="demo", messages=messages, options=N_FEW)
    alone = client.chat(model="demo", messages=QUESTION, options=N_FEW)
    assert answer.prompt_eval_count > alone.prompt_eval_count


def test_options_change_the_answer(client):
    assert client.chat(model="demo", messages=QUESTION, options=N_FEW).done_reason == "length"
    stopped = client.chat(model="demo", messages=QUESTION, options={"stop": ["```"]})
    assert stopped.done_reason == "stop"
    assert "```" not in stopped.message.content
    hot = {"temperature": 1.5, "seed": 3, "num_ctx": 512, "num_thread": 2}
    first, second = (client.chat(model="demo", messages=QUESTION, options=hot) for _ in range(2))
    assert first.message.content == second.message.content


def test_generate_answers_a_prompt_whole_and_streamed(client):
    whole = client.generate(model="demo", prompt="How do I list files by size?")
    assert whole.response == client.chat(model="demo", messages=QUESTION).message.content
    lines = list(client.generate(model="demo", prompt="How do I list files by size?", stream=True))
    assert "".join(line.response for line in lines) == whole.response
    briefly = client.generate(model="demo", prompt="How do I list files by size?", system="Answer briefly.")
    assert briefly.prompt_eval_count > whole.prompt_eval_count


def test_a_raw_prompt_meets_no_template(client):
    prompt = "[User]: How do I list files by size?\n[Assistant]:"
    raw = client.generate(model="demo:base", prompt=prompt, raw=True, options=N_FEW)
    dressed = client.generate(model="demo:base", prompt=prompt, options=N_FEW)
    assert raw.response
    assert raw.prompt_eval_count < dressed.prompt_eval_count


@pytest.mark.parametrize("load", ["chat", "generate"])
def test_without_a_prompt_the_model_is_loaded(client, load):
    answer = getattr(client, load)(model="demo", keep_alive="10m")
    assert answer.done
    assert answer.done_reason == "load"
    assert "demo:latest" in {model.model for model in client.ps().models}


def test_what_is_loaded_is_told_with_its_memory(client):
    client.generate(model="demo")
    (loaded,) = [model for model in client.ps().models if model.model == "demo:latest"]
    assert loaded.size > 0
    assert loaded.size_vram >= 0
    assert loaded.context_length == 1024
    assert loaded.expires_at.tzinfo is not None


@pytest.mark.parametrize("schema", ["json", "schema"])
def test_an_answer_follows_a_format(client, schema):
    wanted = {
        "type": "object",
        "properties": {"command": {"type": "string", "maxLength": 20}},
        "required": ["command"],
        "additionalProperties": False,
    }
    given = wanted if schema == "schema" else "json"
    answer = client.chat(model="demo", messages=QUESTION, format=given, options={"num_predict": 200})
    if answer.done_reason == "stop":  # a grammar leaves the length of any object open
        assert isinstance(json.loads(answer.message.content), dict)
    assert answer.message.content.lstrip().startswith("{")
    assert schema == "json" or answer.done_reason == "stop"


def test_show_tells_what_clients_decide_by(client):
    shown = client.show("demo")
    assert "completion" in shown.capabilities
    assert shown.details.family == "llama"
    architecture = shown.modelinfo["general.architecture"]
    assert shown.modelinfo[f"{architecture}.context_length"] == 1024
    assert "num_ctx" in shown.parameters
    assert "im_start" in shown.template
    assert shown.modified_at is not None


def test_an_unknown_model_is_not_found(client):
    for ask in (
        lambda: client.chat(model="no-such-pair", messages=QUESTION),
        lambda: client.show("no-such-pair"),
        lambda: list(client.generate(model="no-such-pair", prompt="Hello", stream=True)),
    ):
        with pytest.raises(ollama.ResponseError) as caught:
            ask()
        assert caught.value.status_code == 404
        assert "no-such-pair" in caught.value.error


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"options": {"temperature": -1}}, "temperature"),
        ({"options": {"mirostat": 1}}, "mirostat"),
        ({"format": {"type": "no such type"}}, "type"),
        ({"keep_alive": "a while"}, "keep_alive"),
        ({"think": True}, "does not support thinking"),  # by these words clients know it, and ask again without
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_bad_request_is_refused_with_what_is_wrong(client, arguments, named, stream):
    with pytest.raises(ollama.ResponseError) as caught:
        lines = client.chat(model="demo", messages=QUESTION, stream=stream, **arguments)
        list(lines)
    assert caught.value.status_code == 400
    assert named in caught.value.error


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"suffix": "end"}, "suffix"),
        ({"template": "{{ .Prompt }}"}, "template"),
        ({"context": [1, 2]}, "context"),
        ({"images": [b"a picture"]}, "images"),
        ({"raw": True, "system": "Be brief."}, "system"),
    ],
)
def test_what_generate_cannot_do_is_refused_by_name(client, arguments, named):
    with pytest.raises(ollama.ResponseError) as caught:
        client.generate(model="demo", prompt="Hello", **arguments)
    assert caught.value.status_code == 400
    assert named in caught.value.error


@pytest.mark.parametrize(
    "ask",
    [
        lambda client: client.pull("demo"),
        lambda client: list(client.pull("demo", stream=True)),
        lambda client: client.push("demo"),
        lambda client: client.delete("demo"),
        lambda client: client.copy("demo", "other"),
        lambda client: client.create("other", from_="demo"),
        lambda client: client.embed("demo", "Hello"),
        lambda client: client.embeddings("demo", "Hello"),
    ],
    ids=["pull", "pull, streamed", "push", "delete", "copy", "create", "embed", "embeddings"],
)
def test_what_changes_models_is_refused_with_what_to_do_instead(client, ask):
    with pytest.raises(ollama.ResponseError) as caught:
        ask(client)
    assert caught.value.status_code == 501
    assert "edge-wsd" in caught.value.error


def test_a_stream_may_be_left_in_the_middle_and_the_next_question_is_answered(client):
    stream = client.chat(model="demo", messages=QUESTION, stream=True)
    next(iter(stream))
    stream.close()
    assert client.chat(model="demo", messages=QUESTION, options=N_FEW).message.content


def test_the_asynchronous_client_asks_several_questions_at_once(address, client):
    questions = ["How do I list files by size?", "How do I show the free disk space?", "hello"]

    async def ask(one, question):
        stream = await one.chat(model="demo", messages=[{"role": "user", "content": question}], stream=True)
        return "".join([line.message.content async for line in stream])

    async def all_of_them():
        one = ollama.AsyncClient(host=address)
        return await asyncio.gather(*(ask(one, question) for question in questions))

    alone = [client.generate(model="demo", prompt=question).response for question in questions]
    assert asyncio.run(all_of_them()) == alone
