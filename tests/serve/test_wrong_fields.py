"""An error names the field of the request by the name under which it was sent, in whichever form that was."""

import pytest

from tests.serve.chat_client import ASKED, QUESTION, post

CHAT, TEXT, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/responses"
WHOLE = {CHAT: ASKED, TEXT: {"prompt": QUESTION}, RESPONSES: {"input": QUESTION}}
"""Requests that are right."""
NO_GRAMMAR = {"not": {}}


def messages(content):
    return [{"role": "user", "content": content}]


FIELDS = [
    (CHAT, {"temperature": 11}, "temperature"),
    (CHAT, {"temperature": "warm"}, "temperature"),
    (CHAT, {"stop": 5}, "stop"),
    (CHAT, {"stop": ["a", 5]}, "stop.1"),
    (CHAT, {"stop": [""]}, "stop"),
    (CHAT, {"messages": [{"content": "x"}]}, "messages.0.role"),
    (CHAT, {"messages": messages(7)}, "messages.0.content"),
    (CHAT, {"messages": messages([7])}, "messages.0.content.0"),
    (CHAT, {"messages": messages([{"type": "image_url"}])}, "messages.0.content.0"),
    (CHAT, {"messages": messages([{"type": []}])}, "messages.0.content.0"),
    (CHAT, {"messages": messages([{"type": "text", "text": 7}])}, "messages.0.content.0"),
    (CHAT, {"max_tokens": 0}, "max_tokens"),
    (CHAT, {"max_tokens": 5, "max_completion_tokens": 0}, "max_completion_tokens"),
    (CHAT, {"edge_wsd": {"threshold": 2}, "temperature": 0.5}, "edge_wsd.threshold"),
    (CHAT, {"edge_wsd": {"temperature": 11}, "temperature": 0.5}, "edge_wsd.temperature"),
    (CHAT, {"logit_bias": {"99999999": 1}}, "logit_bias"),
    (CHAT, {"json_schema": NO_GRAMMAR}, "json_schema"),
    (CHAT, {"response_format": {"type": "xml"}}, "response_format"),
    (CHAT, {"response_format": {"type": "json_schema", "json_schema": {"schema": NO_GRAMMAR}}}, "response_format"),
    (
        CHAT,
        {"tool_choice": "required", "tools": [{"function": {"name": "now", "parameters": NO_GRAMMAR}}]},
        "tools",
    ),
    (
        CHAT,
        {
            "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"name": "now"}]},
            "tools": [{"function": {"name": "now"}}],
            "response_format": {"type": "json_schema", "json_schema": {"schema": NO_GRAMMAR}},
        },
        "response_format",
    ),
    (TEXT, {"prompt": 5}, "prompt"),
    (TEXT, {"prompt": [[1, "a"]]}, "prompt.0.1"),
    (TEXT, {"logit_bias": {"99999999": 1}}, "logit_bias"),
    (TEXT, {"top_p": 2}, "top_p"),
    (TEXT, {"response_format": {"type": "xml"}}, "response_format"),
    (TEXT, {"response_format": {"type": "json_schema", "json_schema": {"schema": NO_GRAMMAR}}}, "response_format"),
    (RESPONSES, {"max_output_tokens": 0}, "max_output_tokens"),
    (RESPONSES, {"max_tokens": 0}, "max_tokens"),
    (RESPONSES, {"text": {"format": "json"}}, "text.format"),
    (RESPONSES, {"text": {"format": {"type": "xml"}}}, "text.format"),
    (RESPONSES, {"text": {"format": {"type": "json_schema", "schema": NO_GRAMMAR}}}, "text.format"),
    (RESPONSES, {"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input.0.content.0"),
    (RESPONSES, {"input": [{"role": "user", "content": [{"type": {}}]}]}, "input.0.content.0"),
    (RESPONSES, {"input": [{"type": ["message"]}]}, "input.0"),
    (RESPONSES, {"input": [{"type": "function_call_output", "output": 5}]}, "input.0.output"),
    (RESPONSES, {"input": [{"type": "function_call_output", "output": ["x"]}]}, "input.0.output.0"),
    (RESPONSES, {"truncation": "sometimes"}, "truncation"),
    (RESPONSES, {"prompt": {"id": "pmpt_1"}}, "prompt"),
    (RESPONSES, {"logit_bias": {"99999999": 1}}, "logit_bias"),
]


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(("path", "fields", "param"), FIELDS)
def test_a_wrong_field_is_named_in_the_error(live_server, path, fields, param, streamed):
    error = post(live_server, {**WHOLE[path], **fields, "stream": streamed}, path, status=400)["error"]
    assert error["param"] == param
    assert error["message"].startswith(param)
    assert error["type"] == "invalid_request_error"


def test_all_that_a_field_may_be_is_told_at_once(live_server):
    message = post(live_server, {**ASKED, "stop": 5}, status=400)["error"]["message"]
    assert message == "stop: Input should be a valid string or a valid list"


BODIES = [
    (b"", "must be a JSON object"),
    (b"[]", "must be a JSON object"),
    (b"null", "must be a JSON object"),
    (b'{"messages"', "not valid JSON"),
    (b'{"messages": "\xff"}', "not valid UTF-8"),
    (b'{"messages": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nests too deeply"),
    (b'{"seed": ' + b"9" * 5000 + b"}", "too many digits"),
]


@pytest.mark.parametrize(("body", "words"), BODIES, ids=[words for _, words in BODIES])
def test_a_body_that_is_no_request_is_told_what_it_is(live_server, body, words):
    with live_server.client() as client:
        answer = client.post(CHAT, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert words in answer.json()["error"]["message"]


def test_json_under_another_name_is_told_the_right_one(live_server):
    with live_server.client() as client:
        answer = client.post(CHAT, json=ASKED, headers={"Content-Type": "application/xml"})
    assert answer.status_code == 400
    assert "Content-Type: application/json" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path", "status", "words"),
    [("POST", "/v1/embeddings", 404, "openapi.json lists"), ("GET", CHAT, 405, "no such method")],
)
def test_a_path_or_method_that_there_is_not_says_where_to_look(live_server, method, path, status, words):
    with live_server.client() as client:
        answer = client.request(method, path)
    assert answer.status_code == status
    assert words in answer.json()["error"]["message"]
