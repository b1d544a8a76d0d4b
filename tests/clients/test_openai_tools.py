"""OpenAI's client with tools: the calls of a model that was taught them, whole, in streams and as responses."""

import json
from dataclasses import replace

import pytest

openai = pytest.importorskip("openai")

from edge_wsd.models.pairs.named_pair import NamedPair  # noqa: E402
from edge_wsd.serve.served_models import ServedModels  # noqa: E402
from tests.chat_templates import TOOLS_HERMES  # noqa: E402
from tests.live_servers import CPU, running_server  # noqa: E402
from tests.tiny_models import Saying  # noqa: E402

SAID = '<tool_call>\n{"name": "weather", "arguments": {"city": "Köln", "days": [1]}}\n</tool_call>'
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
FUNCTION = {"name": "weather", "description": "Tells the weather.", "parameters": PARAMETERS}
QUESTION = [{"role": "user", "content": "Weather?"}]


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tools")
    drafter = Saying(SAID, chat_template=TOOLS_HERMES).write(folder / "drafter.gguf")
    base = Saying(SAID, chat_template=None).write(folder / "base.gguf")
    loading = dict.fromkeys(("drafter_settings", "base_settings"), replace(CPU, context_length=2048))
    models = ServedModels(NamedPair("tiny", str(drafter), str(base)), loading)
    with running_server(models) as server, openai.OpenAI(base_url=f"{server.url}/v1", api_key="unused") as client:
        yield client


def chat_tools():
    return [{"type": "function", "function": FUNCTION}]


def test_a_call_is_answered_with_the_message_that_it_came_in(client):
    first = client.chat.completions.create(model="tiny", messages=QUESTION, tools=chat_tools())
    (choice,) = first.choices
    assert choice.finish_reason == "tool_calls"
    (call,) = choice.message.tool_calls
    assert json.loads(call.function.arguments)["city"] == "Köln"
    answer = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
    messages = [*QUESTION, choice.message, answer]
    again = client.chat.completions.create(model="tiny", messages=messages, tools=chat_tools())
    assert again.usage.prompt_tokens > first.usage.prompt_tokens


def test_the_helper_for_streams_puts_the_call_together(client):
    with client.chat.completions.stream(model="tiny", messages=QUESTION, tools=chat_tools()) as stream:
        kinds = [event.type for event in stream]
        completion = stream.get_final_completion()
    assert "tool_calls.function.arguments.done" in kinds
    (call,) = completion.choices[0].message.tool_calls
    assert call.function.name == "weather"
    assert json.loads(call.function.arguments)["city"] == "Köln"


def test_responses_give_the_call_as_an_item_whole_and_streamed(client):
    tools = [{"type": "function", "strict": False, **FUNCTION}]
    whole = client.responses.create(model="tiny", input="Weather?", tools=tools)
    (item,) = whole.output
    assert json.loads(item.arguments)["city"] == "Köln"
    with client.responses.stream(model="tiny", input="Weather?", tools=tools) as stream:
        kinds = [event.type for event in stream]
        (streamed,) = stream.get_final_response().output
    assert "response.function_call_arguments.done" in kinds
    assert streamed.arguments == item.arguments
    answer = {"type": "function_call_output", "call_id": item.call_id, "output": "sunny"}
    items = [*QUESTION, item.model_dump(exclude_none=True), answer]
    assert client.responses.create(model="tiny", input=items, tools=tools).status == "completed"
