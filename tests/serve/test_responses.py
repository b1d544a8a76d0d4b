"""`/v1/responses`: the same answers in OpenAI's newer form, whole and as events that build them up."""

import json

import pytest

from edge_wsd import Pair
from tests.live_servers import CPU
from tests.serve.chat_client import LONG, QUESTION, lines_until_stopped, post

PATH = "/v1/responses"


@pytest.fixture(scope="module")
def pair():
    with Pair.demo(drafter_settings=CPU, base_settings=CPU) as pair:
        yield pair


def events_of(server, body):
    with server.client() as client, client.stream("POST", PATH, json={**body, "stream": True}) as answer:
        assert answer.status_code == 200, answer.read()
        lines = [line for line in answer.iter_lines() if line and not line.startswith(":")]
    names, data = lines[::2], [json.loads(line.removeprefix("data: ")) for line in lines[1::2]]
    assert names == [f"event: {event['type']}" for event in data]
    assert [event["sequence_number"] for event in data] == list(range(len(data)))
    return data


def test_a_whole_response_is_the_librarys_answer(live_server, pair):
    expected = pair.generate(QUESTION, max_tokens=20)
    asked = {"input": QUESTION, "max_output_tokens": 20, "metadata": {"a": "b"}, "store": True}
    answer = post(live_server, asked, PATH)
    assert answer["object"] == "response"
    assert answer["status"] == "incomplete"
    assert answer["incomplete_details"] == {"reason": "max_output_tokens"}
    assert answer["metadata"] == {"a": "b"}
    assert answer["error"] is None
    (message,) = answer["output"]
    assert message["role"] == "assistant"
    assert message["content"] == [{"type": "output_text", "text": expected.text, "annotations": [], "logprobs": []}]
    usage = answer["usage"]
    assert usage["output_tokens"] == 20
    assert usage["total_tokens"] == usage["input_tokens"] + 20
    assert "cached_tokens" in usage["input_tokens_details"]


def test_a_complete_answer_is_completed(live_server, pair):
    expected = pair.generate(QUESTION, max_tokens=300)
    answer = post(live_server, {"input": QUESTION}, PATH)
    assert expected.finish_reason == "stop"
    assert (answer["status"], answer["output"][0]["status"]) == ("completed", "completed")
    assert answer["output"][0]["content"][0]["text"] == expected.text


def test_instructions_and_items_make_a_conversation(live_server, pair):
    conversation = [
        {"role": "system", "content": "Answer briefly."},
        {"role": "user", "content": "How do I show the free disk space?"},
        {"role": "assistant", "content": "df -h"},
        {"role": "user", "content": QUESTION},
    ]
    items = [
        {"role": "user", "content": [{"type": "input_text", "text": "How do I show the free disk space?"}]},
        {"type": "reasoning", "summary": []},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "df -h"}]},
        {"type": "message", "role": "user", "content": QUESTION},
    ]
    asked = {"instructions": "Answer briefly.", "input": items, "max_output_tokens": 20}
    answer = post(live_server, asked, PATH)
    assert answer["output"][0]["content"][0]["text"] == pair.generate(conversation, max_tokens=20).text


def test_events_open_fill_and_close_what_the_whole_response_has(live_server):
    asked = {"input": QUESTION, "max_output_tokens": 20}
    whole = post(live_server, asked, PATH)
    events = events_of(live_server, asked)
    kinds = [event["type"].removeprefix("response.") for event in events]
    assert kinds[:4] == ["created", "in_progress", "output_item.added", "content_part.added"]
    assert kinds[-4:] == ["output_text.done", "content_part.done", "output_item.done", "incomplete"]
    assert set(kinds[4:-4]) == {"output_text.delta"}
    assert events[0]["response"]["output"] == []
    text = whole["output"][0]["content"][0]["text"]
    assert "".join(event["delta"] for event in events if "delta" in event) == text
    assert events[-4]["text"] == text
    last = events[-1]["response"]
    assert last["output"][0]["content"] == whole["output"][0]["content"]
    assert len({event.get("item_id") for event in events if "item_id" in event} | {last["output"][0]["id"]}) == 1
    assert last["usage"]["output_tokens"] == 20


def test_log_probabilities_come_when_they_are_asked_for(live_server, pair):
    expected = pair.generate(QUESTION, max_tokens=12, top_logprobs=2)
    asked = {
        "input": QUESTION, "max_output_tokens": 12, "include": ["message.output_text.logprobs"], "top_logprobs": 2,
    }  # fmt: skip
    whole = post(live_server, asked, PATH)["output"][0]["content"][0]["logprobs"]
    assert [bytes(entry["bytes"]) for entry in whole] == [token.piece for token in expected.tokens]
    assert all(len(entry["top_logprobs"]) == 2 for entry in whole)
    streamed = [entry for event in events_of(live_server, asked) if "delta" in event for entry in event["logprobs"]]
    assert [entry["token"] for entry in streamed] == [entry["token"] for entry in whole]


def test_the_extension_is_in_deltas_and_in_the_whole(live_server):
    asked = {"input": QUESTION, "max_output_tokens": 20, "edge_wsd": {"threshold": 0.9}}
    whole = post(live_server, asked, PATH)["edge_wsd"]
    events = events_of(live_server, asked)
    told = [token for event in events for token in event.get("edge_wsd", {}).get("tokens", ())]
    assert [token["author"] for token in told] == [token["author"] for token in whole["tokens"]]
    assert events[-1]["response"]["edge_wsd"]["switch"] == whole["switch"]


def test_a_format_binds_the_answer(live_server):
    schema = {"type": "object", "properties": {"safe": {"type": "boolean"}}, "required": ["safe"]}
    form = {"type": "json_schema", "name": "answer", "schema": schema, "strict": True}
    answer = post(live_server, {"input": QUESTION, "text": {"format": form}, "max_output_tokens": 60}, PATH)
    assert isinstance(json.loads(answer["output"][0]["content"][0]["text"])["safe"], bool)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"previous_response_id": "resp_1"}, "nothing is stored here"),
        ({"background": True}, "nothing is stored here"),
        ({"input": [{"type": "image_generation_call"}]}, "input.0: an item of type 'image_generation_call'"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input.0.content.0: a part of type"),
        ({"input": [{"role": "user", "content": 7}]}, "input.0.content"),
        ({"input": []}, "the conversation is empty"),
        ({"max_output_tokens": 0}, "max_output_tokens must be"),
        ({"tools": [{"type": "web_search"}]}, "tool 1 must be"),
        ({"tools": [{"type": "function", "name": "now"}]}, "does not support tools"),
        ({"text": {"format": {"type": "xml"}}}, "text.format must be"),
    ],
)
def test_a_wrong_request_is_told_so_before_anything_is_sent(live_server, fields, words, streamed):
    asked = {"input": QUESTION, "stream": streamed, **fields}
    assert words in post(live_server, asked, PATH, status=400)["error"]["message"]


TURN = [{"role": "user", "content": "word " * 60}, {"role": "assistant", "content": "Sure."}]


@pytest.mark.parametrize("streamed", [False, True])
def test_a_conversation_that_is_too_long_loses_its_beginning_only_if_it_may(live_server, streamed):
    asked = {"input": [*TURN * 8, {"role": "user", "content": QUESTION}], "max_output_tokens": 4, "stream": streamed}
    error = post(live_server, {**asked, "truncation": "disabled"}, PATH, status=400)["error"]
    assert (error["code"], error["param"]) == ("context_length_exceeded", "truncation")
    for truncation in (None, "auto"):
        with live_server.client() as client:
            assert client.post(PATH, json={**asked, "truncation": truncation}).status_code == 200


def test_what_is_empty_or_null_in_an_item_or_the_instructions_is_as_good_as_absent(live_server):
    def n_read(**fields):
        return post(live_server, {"max_output_tokens": 2, **fields}, PATH)["usage"]["input_tokens"]

    absent = n_read(input=QUESTION)
    assert n_read(input=QUESTION, instructions="") == absent
    assert n_read(input=[{"type": None, "id": None, "role": "user", "content": QUESTION}]) == absent


def test_the_settings_of_the_text_come_back_with_its_format(live_server):
    answer = post(live_server, {"input": QUESTION, "max_output_tokens": 2, "text": {"verbosity": "low"}}, PATH)
    assert answer["text"] == {"verbosity": "low", "format": {"type": "text"}}


def test_an_error_in_a_stream_is_an_event(server_with):
    """The server stops in the middle of an answer."""
    server = server_with()
    asked = {"input": QUESTION, "stream": True, **LONG}
    lines = lines_until_stopped(server, PATH, asked)
    assert lines[-2] == "event: error"
    event = json.loads(lines[-1].removeprefix("data: "))
    assert (event["type"], event["code"]) == ("error", "unavailable")
    assert event["error"]["message"] == event["message"] == "the server is stopping"
