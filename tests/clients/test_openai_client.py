"""OpenAI's own client, pointed at the server: whole answers, streams, errors, probabilities, responses."""

import asyncio
import json
import math

import httpx
import pytest

openai = pytest.importorskip("openai")

QUESTION = [{"role": "user", "content": "How do I list files by size?"}]


@pytest.fixture
def client(address):
    with openai.OpenAI(base_url=f"{address}/v1", api_key="unused", max_retries=0) as client:
        yield client


def test_models_are_listed_and_looked_up_by_name(client):
    names = [model.id for model in client.models.list()]
    assert {"demo", "demo:base", "demo:drafter"} <= set(names)
    found = client.models.retrieve("demo")
    assert (found.id, found.object) == ("demo", "model")
    assert found.created > 0
    assert found.owned_by


def test_a_whole_answer_has_text_usage_and_a_reason_to_end(client):
    answer = client.chat.completions.create(model="demo", messages=QUESTION)
    (choice,) = answer.choices
    assert choice.message.role == "assistant"
    assert "ls" in choice.message.content
    assert choice.finish_reason == "stop"
    assert answer.model == "demo"
    usage = answer.usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert usage.prompt_tokens_details.cached_tokens >= 0


def test_a_stream_says_what_the_whole_answer_says_and_ends_with_the_usage(client):
    whole = client.chat.completions.create(model="demo", messages=QUESTION)
    chunks = list(
        client.chat.completions.create(
            model="demo", messages=QUESTION, stream=True, stream_options={"include_usage": True}
        )
    )
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert text == whole.choices[0].message.content
    reasons = [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason]
    assert reasons == ["stop"]
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens


def test_the_helper_for_streams_puts_the_same_answer_together(client):
    with client.chat.completions.stream(model="demo", messages=QUESTION) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_completion()
    assert "content.delta" in kinds
    assert "ls" in final.choices[0].message.content


def test_each_model_of_the_pair_answers_alone(client):
    texts = {
        name: client.chat.completions.create(model=name, messages=QUESTION, max_tokens=16).choices[0].message.content
        for name in ("demo", "demo:base", "demo:drafter")
    }
    assert all(texts.values())
    assert texts["demo:base"] != texts["demo:drafter"]


def test_max_completion_tokens_ends_an_answer_with_length(client):
    answer = client.chat.completions.create(model="demo", messages=QUESTION, max_completion_tokens=5)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 5


def test_a_stop_string_is_not_part_of_the_answer(client):
    answer = client.chat.completions.create(model="demo", messages=QUESTION, stop=["```"])
    assert answer.choices[0].finish_reason == "stop"
    assert "```" not in answer.choices[0].message.content


def test_the_same_seed_gives_the_same_answer(client):
    def text(seed):
        answer = client.chat.completions.create(model="demo", messages=QUESTION, temperature=1.5, seed=seed)
        return answer.choices[0].message.content

    assert text(7) == text(7)
    assert len({text(seed) for seed in range(4)}) > 1


def test_several_choices_are_asked_for_with_n(client):
    answer = client.chat.completions.create(model="demo", messages=QUESTION, n=3, temperature=1.5, seed=1)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert len({choice.message.content for choice in answer.choices}) > 1


def test_probabilities_come_with_bytes_and_alternatives(client):
    answer = client.chat.completions.create(model="demo", messages=QUESTION, logprobs=True, top_logprobs=3)
    tokens = answer.choices[0].logprobs.content
    assert len(tokens) >= answer.usage.completion_tokens - 1  # the end of the text may be one of them
    for token in tokens:
        assert -9999 <= token.logprob <= 1e-5
        assert len(token.top_logprobs) == 3
        shares = [math.exp(other.logprob) for other in token.top_logprobs]
        assert shares == sorted(shares, reverse=True)
        assert sum(shares) < 1 + 1e-4
    raw = b"".join(bytes(token.bytes) for token in tokens).decode()
    assert raw.startswith(answer.choices[0].message.content)


def test_an_answer_follows_a_json_schema(client):
    schema = {
        "type": "object",
        "properties": {"command": {"type": "string", "maxLength": 20}, "root": {"type": "boolean"}},
        "required": ["command", "root"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "command", "schema": schema, "strict": True}}
    answer = client.chat.completions.create(model="demo", messages=QUESTION, response_format=form)
    value = json.loads(answer.choices[0].message.content)
    assert set(value) == {"command", "root"}
    assert isinstance(value["root"], bool)


def test_an_answer_is_parsed_into_the_clients_own_class_in_both_interfaces(client):
    pydantic = pytest.importorskip("pydantic")
    form = pydantic.create_model("Risk", root=(bool, ...), level=(int, ...))
    chat = client.chat.completions.parse(model="demo", messages=QUESTION, response_format=form, max_tokens=60)
    response = client.responses.parse(model="demo", input=QUESTION, text_format=form, max_output_tokens=60)
    assert response.output_parsed == chat.choices[0].message.parsed
    assert isinstance(chat.choices[0].message.parsed, form)
    with pytest.raises(openai.LengthFinishReasonError):
        client.chat.completions.parse(model="demo", messages=QUESTION, response_format=form, max_tokens=2)


def test_tools_may_be_absent_in_every_way_that_clients_know(client):
    for arguments in ({"tools": []}, {"tool_choice": "none"}, {"tool_choice": "auto", "tools": []}):
        answer = client.chat.completions.create(model="demo", messages=QUESTION, max_tokens=4, **arguments)
        assert answer.choices[0].message.content
        assert not answer.choices[0].message.tool_calls


def test_an_unknown_model_is_not_found(client):
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="no-such-pair", messages=QUESTION)
    assert caught.value.code == "model_not_found"
    assert "no-such-pair" in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "wizard", "content": "Hello"}]}, "role"),
        ({"messages": QUESTION, "temperature": -1}, "temperature"),
        ({"messages": QUESTION, "max_tokens": 0}, "max_tokens"),
        ({"messages": QUESTION, "extra_body": {"edge_wsd": {"thresold": 0.5}}}, "thresold"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_bad_request_is_refused_with_what_is_wrong(client, arguments, named, stream):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="demo", stream=stream, **arguments)
    assert named in caught.value.message


def test_a_prompt_that_is_too_long_is_refused_by_the_name_clients_look_for(client):
    long = [{"role": "user", "content": "word " * 3000}]
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="demo", messages=long)
    assert caught.value.code == "context_length_exceeded"


def test_a_stream_may_be_left_in_the_middle_and_the_next_question_is_answered(client):
    with client.chat.completions.create(model="demo", messages=QUESTION, stream=True) as stream:
        next(iter(stream))
    assert client.chat.completions.create(model="demo", messages=QUESTION).choices[0].message.content


def test_the_extension_tells_who_wrote_what(client):
    answer = client.chat.completions.create(
        model="demo", messages=QUESTION, extra_body={"edge_wsd": {"threshold": 0.9}}
    )
    extension = answer.model_extra["edge_wsd"]
    assert "".join(token["text"] for token in extension["tokens"]) == answer.choices[0].message.content
    authors = [token["author"] for token in extension["tokens"]]
    n_drafted = extension["switch"]["index"] + 1
    assert set(authors[:n_drafted]) == {"drafter"}
    assert set(authors[n_drafted:]) <= {"base"}
    assert extension["stats"]["n_tokens"] == answer.usage.completion_tokens


def test_without_being_asked_there_is_no_extension(client):
    answer = client.chat.completions.create(model="demo", messages=QUESTION, max_tokens=4)
    assert "edge_wsd" not in (answer.model_extra or {})


def test_completions_continue_a_text(client):
    answer = client.completions.create(model="demo", prompt="To list files by size", max_tokens=8)
    assert answer.choices[0].text
    assert answer.object == "text_completion"
    chunks = list(client.completions.create(model="demo", prompt="To list files by size", max_tokens=8, stream=True))
    assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == answer.choices[0].text


def test_completions_echo_the_prompt_with_its_probabilities(client):
    prompt = "To list files by size"
    answer = client.completions.create(model="demo:base", prompt=prompt, max_tokens=1, echo=True, logprobs=1)
    (choice,) = answer.choices
    assert choice.text.startswith(prompt)
    found = choice.logprobs
    assert found.token_logprobs[0] is None
    assert all(logprob <= 1e-5 for logprob in found.token_logprobs[1:])
    assert "".join(found.tokens).startswith(prompt)


def test_responses_answer_whole_and_streamed(client):
    whole = client.responses.create(model="demo", input="How do I list files by size?", instructions="Answer briefly.")
    assert whole.status == "completed"
    assert "ls" in whole.output_text
    events = list(
        client.responses.create(
            model="demo", input="How do I list files by size?", instructions="Answer briefly.", stream=True
        )
    )
    assert events[0].type == "response.created"
    assert events[-1].type == "response.completed"
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == whole.output_text
    assert [event.sequence_number for event in events] == list(range(len(events)))


def test_answers_and_events_are_of_the_types_that_the_client_declares(address):
    """The client itself takes whatever comes: others, in languages with types, do not."""
    pydantic = pytest.importorskip("pydantic")
    from openai.types import Model
    from openai.types.chat import ChatCompletion, ChatCompletionChunk
    from openai.types.responses import Response, ResponseStreamEvent

    chat = {"messages": QUESTION, "max_tokens": 8, "logprobs": True, "top_logprobs": 1, "edge_wsd": {}}
    asked = [
        ("chat/completions", {**chat, "stream_options": {"include_usage": True}}, ChatCompletion, ChatCompletionChunk),
        ("responses", {"input": "hello", "top_logprobs": 1, "edge_wsd": {}}, Response, ResponseStreamEvent),
        ("responses", {"input": "hello", "max_output_tokens": 4}, Response, ResponseStreamEvent),
    ]
    with httpx.Client(base_url=f"{address}/v1/", timeout=60) as http:
        for path, body, whole, event in asked:
            pydantic.TypeAdapter(whole).validate_json(http.post(path, json=body).content)
            lines = http.post(path, json={**body, "stream": True}).text.splitlines()
            events = [line.removeprefix("data: ") for line in lines if line.startswith("data: {")]
            assert len(events) > 5
            for text in events:
                pydantic.TypeAdapter(event).validate_json(text)
        for model in http.get("models").json()["data"]:
            pydantic.TypeAdapter(Model).validate_python(model)


def test_the_asynchronous_client_asks_several_questions_at_once(address):
    questions = ["How do I list files by size?", "How do I show the free disk space?", "hello"]

    async def ask(client, question):
        stream = await client.chat.completions.create(
            model="demo", messages=[{"role": "user", "content": question}], stream=True
        )
        return "".join([choice.delta.content or "" async for chunk in stream for choice in chunk.choices])

    async def all_of_them():
        async with openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="unused", max_retries=0) as client:
            return await asyncio.gather(*(ask(client, question) for question in questions))

    with openai.OpenAI(base_url=f"{address}/v1", api_key="unused") as one:
        alone = [
            one.chat.completions.create(model="demo", messages=[{"role": "user", "content": question}])
            for question in questions
        ]
    assert asyncio.run(all_of_them()) == [answer.choices[0].message.content for answer in alone]
