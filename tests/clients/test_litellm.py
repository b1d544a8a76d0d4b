"""LiteLLM over both interfaces: as an OpenAI-compatible server, and as Ollama."""

import asyncio

import pytest

litellm = pytest.importorskip("litellm")

QUESTION = [{"role": "user", "content": "How do I list files by size?"}]


@pytest.fixture(params=["openai", "ollama_chat"])
def arguments(request, address):
    if request.param == "openai":
        return {"model": "openai/demo", "api_base": f"{address}/v1", "api_key": "unused", "num_retries": 0}
    return {"model": "ollama_chat/demo", "api_base": address, "num_retries": 0}


def test_a_whole_answer_has_text_and_usage(arguments):
    answer = litellm.completion(messages=QUESTION, **arguments)
    assert "ls" in answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.completion_tokens > 0
    assert answer.usage.prompt_tokens > 0


def test_a_stream_says_what_the_whole_answer_says(arguments):
    chunks = list(litellm.completion(messages=QUESTION, stream=True, **arguments))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == litellm.completion(messages=QUESTION, **arguments).choices[0].message.content
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_parameters_reach_the_answer(arguments):
    answer = litellm.completion(messages=QUESTION, max_tokens=5, temperature=0.5, seed=1, top_p=0.9, **arguments)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 5


def test_an_unknown_model_is_not_found(arguments):
    unknown = {**arguments, "model": arguments["model"].replace("demo", "no-such-pair")}
    with pytest.raises((litellm.NotFoundError, litellm.APIConnectionError), match="no-such-pair"):
        litellm.completion(messages=QUESTION, **unknown)


def test_the_asynchronous_call_streams_as_well(arguments):
    async def text():
        stream = await litellm.acompletion(messages=QUESTION, stream=True, **arguments)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    assert asyncio.run(text()) == litellm.completion(messages=QUESTION, **arguments).choices[0].message.content


def test_text_completion_continues_a_text(address):
    answer = litellm.text_completion(
        model="text-completion-openai/demo",
        prompt="To list files by size",
        api_base=f"{address}/v1",
        api_key="unused",
        max_tokens=8,
    )
    assert answer.choices[0].text
