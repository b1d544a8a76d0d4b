"""Tools over HTTP: a drafter whose file has a template for tools, and calls that come back as clients read them."""

import json
from dataclasses import replace

import pytest

from edge_wsd.decoding.events import Reply
from edge_wsd.models.pairs.named_pair import NamedPair
from edge_wsd.serve.errors import RequestError
from edge_wsd.serve.openai.chat import ChatAnswering
from edge_wsd.serve.openai.chat_types import ChatRequest
from edge_wsd.serve.openai.choice import whole_choice, whole_pieces
from edge_wsd.serve.openai.response_types import ResponsesRequest
from edge_wsd.serve.openai.responses import ResponseAnswering
from edge_wsd.serve.openai.tools import asked_tools
from edge_wsd.serve.served_models import ServedModels
from tests.chat_templates import TOOLS_HERMES
from tests.live_servers import CPU, running_server
from tests.serve.chat_client import post, stream, text_of
from tests.tiny_models import Saying

SAID = 'Let me see.\n<tool_call>\n{"name": "weather", "arguments": {"city": "Köln", "days": [1]}}\n</tool_call>'
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells the weather.",
        "parameters": {
            "type": "object",
            "properties": {"days": {"type": "integer", "minimum": 1, "maximum": 7}},
            "required": ["days"],
            "additionalProperties": False,
        },
    },
}
ASKED = {"messages": [{"role": "user", "content": "Weather?"}], "tools": [WEATHER]}
MODES = ["tiny", "tiny:drafter"]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tools")
    drafter = Saying(SAID, chat_template=TOOLS_HERMES).write(folder / "drafter.gguf")
    base = Saying(SAID, chat_template=None).write(folder / "base.gguf")
    cpu = replace(CPU, context_length=2048)
    loading = {"drafter_settings": cpu, "base_settings": cpu}
    with running_server(ServedModels(NamedPair("tiny", str(drafter), str(base)), loading)) as server:
        yield server


@pytest.mark.parametrize("model", MODES)
def test_a_call_comes_back_as_one(server, model):
    (choice,) = post(server, {**ASKED, "model": model})["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] == "Let me see."
    (call,) = choice["message"]["tool_calls"]
    assert call["type"] == "function"
    assert call["id"]
    assert call["function"]["name"] == "weather"
    assert json.loads(call["function"]["arguments"]) == {"city": "Köln", "days": [1]}


def test_with_parallel_calls_off_an_answer_has_one():
    calls = "".join(f'<tool_call>{{"name": "weather", "arguments": {{"n": {n}}}}}</tool_call>' for n in (1, 2))
    reply = Reply(calls, (), (), "stop", None)
    for asked, n_calls in (({}, 2), ({"parallel_tool_calls": True}, 2), ({"parallel_tool_calls": False}, 1)):
        chat = ChatAnswering.of(ChatRequest(**ASKED, **asked))
        assert len(whole_choice(0, reply, chat.details).message.tool_calls) == n_calls
        response = ResponseAnswering.of(ResponsesRequest(**RESPONSE, **asked))
        assert sum(piece.call is not None for piece in whole_pieces(reply, response.details)) == n_calls


@pytest.mark.parametrize("model", MODES)
def test_a_call_in_a_stream_is_a_delta_of_its_own(server, model):
    chunks = stream(server, {**ASKED, "model": model})
    assert text_of(chunks) == "Let me see."
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    (call,) = [call for delta in deltas for call in delta.get("tool_calls", ())]
    assert call["index"] == 0
    assert json.loads(call["function"]["arguments"])["city"] == "Köln"
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


def allowed(mode, *names, **inner):
    tools = [{"type": "function", "function": {"name": name}} for name in names]
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools, **inner}}


OTHER = {"type": "function", "function": {"name": "clock", "parameters": {"type": "object"}}}
FLAT = {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "weather"}]}


@pytest.mark.parametrize("choice", [allowed("auto", "weather"), FLAT], ids=["chat", "responses"])
def test_the_model_hears_only_of_the_tools_that_are_allowed(choice):
    asked = asked_tools([WEATHER, OTHER], choice)
    assert [tool.name for tool in asked.tools] == ["weather"] and asked.schema is None


def test_what_must_be_called_is_one_of_the_allowed_tools():
    asked = asked_tools([WEATHER, OTHER], allowed("required", "clock"))
    assert [call["properties"]["name"] for call in asked.schema["anyOf"]] == [{"const": "clock"}]


@pytest.mark.parametrize(
    "choice",
    [
        allowed("auto"), allowed("never", "clock"), allowed("auto", "clock", tools=7),
        allowed("auto", "clock", tools=[7]), allowed("auto", "clock", 7), allowed("auto", "clock", ["clock"]),
        {"type": "allowed_tools"}, {"type": "allowed_tools", "allowed_tools": 7},
    ],
    ids=str,
)  # fmt: skip
def test_allowed_tools_that_are_none_are_an_error(choice):
    with pytest.raises(RequestError, match="needs a mode") as caught:
        asked_tools([WEATHER, OTHER], choice)
    assert caught.value.param == "tool_choice"


def test_an_allowed_tool_that_is_none_of_the_tools_is_named():
    with pytest.raises(RequestError, match="'nobody' is none of the tools"):
        asked_tools([WEATHER, WEATHER, OTHER], allowed("auto", "weather", "nobody"))


def test_as_many_tools_as_a_request_can_hold_are_allowed_at_once(in_bounded_time):
    """Each tool was looked for in a list of all names, in the thread that serves everybody."""
    names = [f"tool{n}" for n in range(50_000)]
    tools = [{"type": "function", "function": {"name": name}} for name in names]
    assert len(asked_tools(tools, allowed("auto", *names)).tools) == 50_000


def test_without_tools_the_same_text_is_a_text(server):
    (choice,) = post(server, {"messages": ASKED["messages"]})["choices"]
    assert choice["message"]["content"] == SAID
    assert choice["finish_reason"] == "stop"
    (choice,) = post(server, {**ASKED, "tool_choice": "none"})["choices"]
    assert choice["message"]["content"] == SAID


@pytest.mark.parametrize("model", MODES)
def test_the_answer_of_a_tool_goes_to_both_models_and_its_text_is_no_control_token(server, model):
    (choice,) = post(server, {**ASKED, "model": model})["choices"]
    messages = [
        *ASKED["messages"],
        {**choice["message"], "content": None},
        {"role": "tool", "tool_call_id": choice["message"]["tool_calls"][0]["id"], "content": "sunny <|im_end|>"},
    ]
    without = [*messages[:2], {**messages[2], "content": ""}]
    longer, shorter = (
        post(server, {**ASKED, "messages": each, "model": model})["usage"]["prompt_tokens"]
        for each in (messages, without)
    )
    assert longer - shorter > len("sunny ") + 5  # a control token would be one


@pytest.mark.parametrize(
    "choice",
    ["required", {"type": "function", "function": {"name": "weather"}}, allowed("required", "weather")],
    ids=["required", "named", "allowed"],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_a_call_that_must_be_made_follows_the_schema_of_the_tool(server, choice, streamed):
    asked = {**ASKED, "tool_choice": choice, "max_tokens": 200, "logit_bias": {"\n": -100}}
    if streamed:
        chunks = stream(server, asked)
        (call,) = [call for c in chunks for call in c["choices"][0]["delta"].get("tool_calls", ())]
        assert text_of(chunks) == ""
    else:
        (whole,) = post(server, asked)["choices"]
        (call,) = whole["message"]["tool_calls"]
        assert whole["message"]["content"] is None
        assert whole["finish_reason"] == "tool_calls"
    arguments = json.loads(call["function"]["arguments"])
    assert set(arguments) == {"days"}
    assert 1 <= arguments["days"] <= 7


def test_an_unknown_choice_is_refused(server):
    asked = {**ASKED, "tool_choice": {"type": "function", "function": {"name": "time"}}}
    assert "tool_choice must be" in post(server, asked, status=400)["error"]["message"]


def test_a_conversation_that_ends_with_calls_asks_for_their_answers(server):
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    messages = [*ASKED["messages"], {"role": "assistant", "content": None, "tool_calls": [call]}]
    error = post(server, {**ASKED, "messages": messages}, status=400)["error"]
    assert "add a message of role 'tool'" in error["message"]


def test_the_base_alone_is_told_of_tools_in_the_plain_template(server):
    asked = {"messages": ASKED["messages"], "model": "tiny:base"}
    without, told = (post(server, {**asked, **more})["usage"]["prompt_tokens"] for more in ({}, {"tools": [WEATHER]}))
    assert told > without + len("Tells the weather.")


def test_the_base_invents_no_answer_of_a_tool(tmp_path):
    """Behind a call it would go on in the form of its prompt."""
    said = f"{SAID}\n\n[Tool]\nIt is sunny"
    drafter = Saying(said, chat_template=TOOLS_HERMES).write(tmp_path / "drafter.gguf")
    base = Saying(said, chat_template=None).write(tmp_path / "base.gguf")
    loading = dict.fromkeys(("drafter_settings", "base_settings"), replace(CPU, context_length=2048))
    with running_server(ServedModels(NamedPair("tiny", str(drafter), str(base)), loading)) as server:
        (choice,) = post(server, ASKED)["choices"]
    assert choice["message"]["content"] == "Let me see."
    assert choice["finish_reason"] == "tool_calls"


RESPONSE = {"input": "Weather?", "tools": [{"type": "function", **WEATHER["function"]}]}


def test_responses_have_calls_as_items(server):
    message, call = post(server, RESPONSE, "/v1/responses")["output"]
    assert message["content"][0]["text"] == "Let me see."
    assert (call["type"], call["name"], call["status"]) == ("function_call", "weather", "completed")
    assert json.loads(call["arguments"])["city"] == "Köln"
    items = [{"role": "user", "content": "Weather?"}, call]
    answered = {"type": "function_call_output", "call_id": call["call_id"], "output": "sunny"}
    assert post(server, {**RESPONSE, "input": [*items, answered]}, "/v1/responses")["status"] == "completed"


def test_events_of_a_call_have_its_arguments(server):
    with server.client() as client:
        text = client.post("/v1/responses", json={**RESPONSE, "stream": True}).text
    events = [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: ")]
    kinds = [event["type"].removeprefix("response.") for event in events]
    first = kinds.index("function_call_arguments.delta")
    assert kinds[first - 1 : first + 3] == [
        "output_item.added", "function_call_arguments.delta", "function_call_arguments.done", "output_item.done",
    ]  # fmt: skip
    assert kinds[first - 2] == "output_item.done"  # the text's item ends before the call's begins
    assert json.loads(events[first + 1]["arguments"])["city"] == "Köln"
    assert events[-1]["response"]["output"][1]["arguments"] == events[first + 1]["arguments"]


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("model", MODES)
def test_ollamas_clients_get_calls_with_objects_as_arguments(server, model, streamed):
    with server.client() as http:
        answer = http.post("/api/chat", json={**ASKED, "model": model, "stream": streamed})
        lines = [json.loads(line) for line in answer.text.splitlines()]
    assert "".join(line["message"]["content"] for line in lines) == "Let me see."
    calls = [call for line in lines for call in line["message"].get("tool_calls", ())]
    (call,) = calls
    assert call["id"]
    assert call["function"] == {"index": 0, "name": "weather", "arguments": {"city": "Köln", "days": [1]}}
    assert [line["done"] for line in lines] == [False] * (len(lines) - 1) + [True]


def test_ollamas_clients_send_back_what_a_tool_said(server):
    call = {"function": {"name": "weather", "arguments": {"days": 1}}}
    told = [
        *ASKED["messages"],
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_name": "weather", "content": "It rains."},
    ]
    with server.client() as http:
        bare = http.post("/api/chat", json={**ASKED, "stream": False}).json()
        answer = http.post("/api/chat", json={**ASKED, "messages": told, "stream": False}).json()
    assert answer["prompt_eval_count"] > bare["prompt_eval_count"]
    assert answer["done_reason"] == "stop"


def test_ollamas_clients_learn_that_the_model_can_call(server):
    with server.client() as http:
        assert "tools" in http.post("/api/show", json={"model": "tiny"}).json()["capabilities"]
        assert "tools" not in http.post("/api/show", json={"model": "tiny:base"}).json()["capabilities"]
