"""LangChain's model of OpenAI, pointed at the server."""

import asyncio
import json
import math

import pytest

langchain_openai = pytest.importorskip("langchain_openai")

QUESTION = "How do I list files by size?"


@pytest.fixture
def model(address):
    return langchain_openai.ChatOpenAI(
        model="demo", base_url=f"{address}/v1", api_key="unused", max_retries=0, stream_usage=True
    )


def test_an_answer_comes_with_its_usage(model):
    message = model.invoke([("system", "Answer briefly."), ("human", QUESTION)])
    assert "ls" in message.content
    assert message.response_metadata["finish_reason"] == "stop"
    used = message.usage_metadata
    assert used["total_tokens"] == used["input_tokens"] + used["output_tokens"]


def test_a_stream_adds_up_to_the_answer(model):
    chunks = list(model.stream(QUESTION))
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    assert whole.content == model.invoke(QUESTION).content
    assert whole.usage_metadata["output_tokens"] > 0
    assert len(chunks) > 5


def test_the_interface_of_responses_says_the_same_whole_and_streamed(address, model):
    newer = langchain_openai.ChatOpenAI(
        model="demo", base_url=f"{address}/v1", api_key="unused", max_retries=0, use_responses_api=True
    )
    expected = model.invoke(QUESTION)
    whole, (streamed, *chunks) = newer.invoke(QUESTION), newer.stream(QUESTION)
    for chunk in chunks:
        streamed += chunk
    assert whole.text == streamed.text == expected.content
    assert whole.usage_metadata["output_tokens"] == expected.usage_metadata["output_tokens"]
    assert newer.invoke([("human", QUESTION), whole, ("human", QUESTION)]).text


def test_a_batch_is_answered_in_order(model):
    questions = [QUESTION, "How do I show the free disk space?"]
    assert [message.content for message in model.batch(questions)] == [
        model.invoke(question).content for question in questions
    ]


def test_structured_output_is_an_object_of_the_schema(model):
    schema = {
        "title": "Command",
        "description": "A command.",
        "type": "object",
        "properties": {"command": {"type": "string", "maxLength": 20}, "root": {"type": "boolean"}},
        "required": ["command", "root"],
        "additionalProperties": False,
    }
    found = model.with_structured_output(schema, method="json_schema").invoke(QUESTION)
    assert set(json.loads(json.dumps(found))) == {"command", "root"}


def test_probabilities_come_in_the_metadata(address):
    model = langchain_openai.ChatOpenAI(
        model="demo", base_url=f"{address}/v1", api_key="unused", logprobs=True, top_logprobs=2, max_tokens=6
    )
    content = model.invoke(QUESTION).response_metadata["logprobs"]["content"]
    assert len(content) == 6
    assert all(0 <= math.exp(token["logprob"]) <= 1 + 1e-5 for token in content)


def test_the_interface_of_responses_works_as_well(address):
    model = langchain_openai.ChatOpenAI(
        model="demo", base_url=f"{address}/v1", api_key="unused", use_responses_api=True, max_retries=0
    )
    assert "ls" in model.invoke(QUESTION).text
    assert "".join(chunk.text for chunk in model.stream(QUESTION)) == model.invoke(QUESTION).text


def test_a_coroutine_streams(model):
    async def text():
        return "".join([chunk.content async for chunk in model.astream(QUESTION)])

    assert asyncio.run(text()) == model.invoke(QUESTION).content


def test_the_old_interface_continues_a_text(address):
    model = langchain_openai.OpenAI(
        model="demo", base_url=f"{address}/v1", api_key="unused", max_tokens=8, temperature=0
    )
    assert model.invoke("To list files by size")
    assert "".join(model.stream("To list files by size")) == model.invoke("To list files by size")
