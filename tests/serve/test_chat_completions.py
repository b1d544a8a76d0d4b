"""`/v1/chat/completions` over the demo pair: the library's answers, in the form that clients read."""

import json
import math

import pytest

from edge_wsd import Options, Pair
from edge_wsd.serve.openai.messages import text_of as text_of_parts
from tests.live_servers import CPU
from tests.serve.chat_client import ASKED, LONG, QUESTION, lines_until_stopped, post, stream, text_of


@pytest.fixture(scope="module")
def pair():
    with Pair.demo(drafter_settings=CPU, base_settings=CPU) as pair:
        yield pair


CONVERSATION = [
    {"role": "system", "content": "Answer briefly."},
    {"role": "user", "content": "How do I show the free disk space?"},
    {"role": "assistant", "content": "df -h"},
    {"role": "user", "content": QUESTION},
]
# Fields of a request, and the options that they mean.
SETTINGS = [
    ({"max_tokens": 40}, {"max_tokens": 40}),
    ({"max_completion_tokens": 9, "max_tokens": 40}, {"max_tokens": 9}),
    ({"temperature": 1.2, "seed": 7, "top_p": 0.9, "max_tokens": 40}, {"temperature": 1.2, "seed": 7, "top_p": 0.9}),
    ({"stop": "files", "max_tokens": 40}, {"stop": ("files",)}),
    ({"stop": ["size", "nothing"], "max_tokens": 40}, {"stop": ("size", "nothing")}),
    ({"frequency_penalty": 0.5, "max_tokens": 40}, {"frequency_penalty": 0.5}),
    ({"presence_penalty": 1.2, "max_tokens": 40}, {"presence_penalty": 1.2}),
    ({"logit_bias": {"421": -100}, "max_tokens": 40}, {"logit_bias": {421: -100}}),
    ({"edge_wsd": {"switch_at": 3, "chunk": 2, "max_tokens": 40}}, {"switch_at": 3, "chunk": 2}),
    ({"model": "demo:base", "max_tokens": 40}, {"mode": "base"}),
    ({"model": "demo:drafter", "max_tokens": 40}, {"mode": "drafter"}),
]  # fmt: skip


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(("fields", "options"), SETTINGS)
def test_the_answer_is_that_of_the_library(live_server, pair, fields, options, streamed):
    expected = pair.generate(CONVERSATION, Options(max_tokens=40).with_changes(**options))
    asked = {"messages": CONVERSATION, **fields}
    if streamed:
        chunks = stream(live_server, asked)
        text, end = text_of(chunks), chunks[-1]["choices"][0]["finish_reason"]
    else:
        (choice,) = post(live_server, asked)["choices"]
        text, end = choice["message"]["content"], choice["finish_reason"]
    assert (text, end) == (expected.text, expected.finish_reason)


def test_a_whole_answer_has_what_clients_look_for(live_server):
    answer = post(live_server, {**ASKED, "max_tokens": 8, "user": "somebody", "reasoning_effort": "low"})
    assert answer["object"] == "chat.completion"
    assert answer["id"].startswith("chatcmpl-")
    assert answer["model"] == "demo"
    assert isinstance(answer["created"], int)
    (choice,) = answer["choices"]
    assert choice["index"] == 0
    assert choice["message"]["role"] == "assistant"
    assert choice["logprobs"] is None
    usage = answer["usage"]
    assert usage["completion_tokens"] == 8
    assert usage["total_tokens"] == usage["prompt_tokens"] + 8
    assert 0 <= usage["prompt_tokens_details"]["cached_tokens"] < usage["prompt_tokens"]
    assert "edge_wsd" not in answer


def test_what_is_in_memory_counts_as_cached(live_server):
    asked = {"messages": [{"role": "user", "content": "Please tell me how to print the word hello twice."}]}
    post(live_server, {**asked, "max_tokens": 20})
    usage = post(live_server, {**asked, "max_tokens": 20})["usage"]
    assert usage["prompt_tokens_details"]["cached_tokens"] > usage["prompt_tokens"] // 2


def test_the_first_delta_carries_the_role_and_the_last_chunk_the_reason(live_server):
    chunks = stream(live_server, {**ASKED, "max_tokens": 8})
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
    assert all("role" not in chunk["choices"][0]["delta"] for chunk in chunks[1:])
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None] * (len(chunks) - 1) + ["length"]
    assert chunks[-1]["choices"][0]["delta"] == {}
    assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks}) == 1
    assert all(chunk["object"] == "chat.completion.chunk" and "usage" not in chunk for chunk in chunks)


def test_usage_comes_last_and_without_choices(live_server):
    *chunks, last = stream(live_server, {**ASKED, "max_tokens": 8, "stream_options": {"include_usage": True}})
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == 8
    assert "cached_tokens" in last["usage"]["prompt_tokens_details"]
    assert all(chunk["usage"] is None for chunk in chunks)


@pytest.mark.parametrize("streamed", [False, True])
def test_log_probabilities_are_those_of_the_library(live_server, pair, streamed):
    expected = pair.generate(QUESTION, max_tokens=20, top_logprobs=3)
    asked = {**ASKED, "max_tokens": 20, "logprobs": True, "top_logprobs": 3}
    if streamed:
        choices = [chunk["choices"][0] for chunk in stream(live_server, asked)]
        entries = [entry for choice in choices for entry in (choice["logprobs"] or {"content": []})["content"]]
        for choice in choices[1:-1]:
            parts = "".join(entry["token"] for entry in choice["logprobs"]["content"])
            assert parts == choice["delta"].get("content", "")
    else:
        entries = post(live_server, asked)["choices"][0]["logprobs"]["content"]
    assert [bytes(entry["bytes"]) for entry in entries] == [token.piece for token in expected.tokens]
    for entry, token in zip(entries, expected.tokens, strict=True):
        assert entry["logprob"] == pytest.approx(token.logprob, abs=1e-3)
        assert entry["token"] == token.piece.decode()
        assert [each["token"] for each in entry["top_logprobs"]] == [each.text for each in token.top]
        assert all(math.isfinite(each["logprob"]) for each in entry["top_logprobs"])


@pytest.mark.parametrize("streamed", [False, True])
def test_an_answer_shorter_than_the_window_has_every_log_probability(live_server, pair, streamed):
    """The base would not have read it."""
    expected = pair.generate(QUESTION, max_tokens=3, top_logprobs=1)
    asked = {**ASKED, "max_tokens": 3, "logprobs": True}
    if streamed:
        choices = [chunk["choices"][0] for chunk in stream(live_server, asked)]
        entries = [entry for choice in choices for entry in (choice["logprobs"] or {"content": []})["content"]]
    else:
        entries = post(live_server, asked)["choices"][0]["logprobs"]["content"]
    logprobs = [token.logprob for token in expected.tokens]
    assert [entry["logprob"] for entry in entries] == pytest.approx(logprobs, abs=1e-3)
    assert all(entry["top_logprobs"] == [] for entry in entries)


def test_several_answers_differ_by_seed_and_each_is_that_of_its_seed(live_server, pair):
    fields = {"temperature": 1.5, "max_tokens": 24}
    asked = {**ASKED, **fields, "seed": 11, "n": 4}
    answer = post(live_server, asked)
    texts = [choice["message"]["content"] for choice in answer["choices"]]
    assert texts == [pair.generate(QUESTION, seed=11 + number, **fields).text for number in range(4)]
    assert len(set(texts)) > 1
    assert answer["usage"]["completion_tokens"] > 24
    chunks = stream(live_server, asked)
    assert [text_of(chunks, index) for index in range(4)] == texts
    ends = [(each["index"], each["finish_reason"]) for chunk in chunks for each in chunk["choices"]]
    assert {index for index, reason in ends if reason} == {0, 1, 2, 3}


def test_the_extension_tells_who_wrote_what(live_server, pair):
    expected = pair.generate(QUESTION, max_tokens=30)
    extension = post(live_server, {**ASKED, "max_tokens": 30, "edge_wsd": {}})["edge_wsd"]
    assert [token["author"] for token in extension["tokens"]] == [token.source for token in expected.tokens]
    assert "".join(token["text"] for token in extension["tokens"]) == expected.text
    assert [token["confidence"] for token in extension["tokens"]] == pytest.approx(expected.confidences, abs=1e-3)
    assert extension["switch"]["index"] == expected.switch.index
    assert extension["switch"]["reason"] == "confident"
    assert extension["stats"]["n_tokens"] == 30
    assert extension["seed"] is None


def test_chunks_tell_the_same_of_each_token_as_it_comes(live_server):
    asked = {**ASKED, "max_tokens": 30, "edge_wsd": {}}
    whole = post(live_server, asked)["edge_wsd"]
    chunks = stream(live_server, {**asked, "stream_options": {"include_usage": True}})
    parts = [chunk["edge_wsd"] for chunk in chunks if "edge_wsd" in chunk]
    tokens = {token["position"]: token for part in parts for token in part.get("tokens", ())}
    assert [tokens[token["position"]]["author"] for token in whole["tokens"]] == [t["author"] for t in whole["tokens"]]
    logprobs = {at: token["logprob"] for at, token in tokens.items()}
    for scored in (part["scored"] for part in parts if "scored" in part):
        logprobs.update(enumerate(scored["logprobs"], start=scored["first"]))
    assert [logprobs[token["position"]] for token in whole["tokens"]] == pytest.approx(
        [token["logprob"] for token in whole["tokens"]], abs=1e-3
    )
    assert next(part["switch"] for part in parts if "switch" in part)["index"] == whole["switch"]["index"]
    assert parts[-1]["stats"]["n_tokens"] == 30
    assert "note" in parts[-1] and "seed" in parts[-1] and "stop" in parts[-1]
    assert "edge_wsd" in chunks[-2] and "edge_wsd" not in chunks[-1]


LINES = f"Please tell me:\n{QUESTION}"


def test_each_part_of_a_message_begins_a_line():
    parts = [{"type": "text", "text": text} for text in ("Please tell me:", "", QUESTION)]
    assert text_of_parts(parts, "content") == LINES


def test_content_may_come_in_parts_and_roles_may_be_new(live_server, pair):
    expected = pair.generate([*CONVERSATION[:3], {"role": "user", "content": LINES}], max_tokens=12).text
    parts = [{"type": "text", "text": line} for line in LINES.split("\n")]
    messages = [
        {"role": "developer", "content": "Answer briefly."},
        *CONVERSATION[1:3],
        {"role": "user", "content": parts},
    ]
    assert post(live_server, {"messages": messages, "max_tokens": 12})["choices"][0]["message"]["content"] == expected


def test_an_unfinished_answer_is_continued(live_server, pair):
    messages = [*CONVERSATION, {"role": "assistant", "content": "Sure, I can"}]
    expected = pair.generate(messages, max_tokens=12).text
    assert post(live_server, {"messages": messages, "max_tokens": 12})["choices"][0]["message"]["content"] == expected


NOTHING = {
    "tools": [], "tool_choice": None, "response_format": None, "stop": None, "seed": None, "n": None, "logprobs": None,
    "functions": [], "function_call": None, "stream": None, "stream_options": None, "logit_bias": None,
    "temperature": None, "top_logprobs": None,
}  # fmt: skip


@pytest.mark.parametrize(
    "fields",
    [
        NOTHING,
        {"tool_choice": "none", "tools": [{"type": "function", "function": {"name": "now"}}]},
        {"tool_choice": "auto"},
        {"response_format": {"type": "text"}},
        {"stop": []},
    ],
)
def test_what_clients_send_without_meaning_it_is_accepted(live_server, fields):
    assert post(live_server, {**ASKED, "max_tokens": 4, **fields})["choices"][0]["message"]["content"]


SCHEMA = {
    "type": "object",
    "properties": {"safe": {"type": "boolean"}, "n": {"type": "integer", "minimum": 0, "maximum": 9}},
    "required": ["safe", "n"],
}


@pytest.mark.parametrize("streamed", [False, True])
def test_a_schema_binds_the_whole_answer(live_server, streamed):
    form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}}
    asked = {**ASKED, "response_format": form, "max_tokens": 60}
    text = (
        text_of(stream(live_server, asked))
        if streamed
        else post(live_server, asked)["choices"][0]["message"]["content"]
    )
    answer = json.loads(text)
    assert isinstance(answer["safe"], bool)
    assert 0 <= answer["n"] <= 9


def test_a_json_object_begins_with_a_bracket(live_server):
    asked = {**ASKED, "response_format": {"type": "json_object"}, "max_tokens": 10}
    assert post(live_server, asked)["choices"][0]["message"]["content"].startswith("{")


IMAGE = [
    {"type": "text", "text": "What is this?"},
    {"type": "image_url", "image_url": {"url": "data:image/png;base64,"}},
]
WRONG = [
    ({"messages": []}, "messages"),
    ({"messages": "hello"}, "messages"),
    ({"messages": [{"role": "user", "content": IMAGE}]}, "part of type 'image_url' cannot be read"),
    ({"messages": [{"role": "user"}]}, "messages.0.content: must be text"),
    ({"messages": [{"role": "robot", "content": "x"}]}, "messages.0: role must be"),
    ({"messages": [{"role": "user", "content": ""}]}, "the prompt is empty"),
    ({"temperature": 11}, "temperature must be between"),
    ({"temperature": "warm"}, "temperature"),
    ({"n": 0}, "n: "),
    ({"n": 99}, "n: "),
    ({"top_logprobs": 3}, "top_logprobs needs logprobs"),
    ({"top_logprobs": 21, "logprobs": True}, "top_logprobs"),
    ({"stop": ["", "x"]}, "stop must be"),
    ({"logit_bias": {"1": 5000}}, "logit_bias"),
    ({"logit_bias": {"99999999": 1}}, "99999999"),
    ({"response_format": {"type": "xml"}}, "response_format must be"),
    ({"response_format": {"type": "json_schema", "json_schema": {"schema": {"not": {}}}}}, "json_schema"),
    ({"tools": [{"type": "web_search"}]}, "tool 1 must be"),
    ({"tools": [{"type": "function", "function": {"name": "now"}}]}, "does not support tools"),
    ({"tool_choice": "required"}, "tool_choice needs tools"),
    ({"tool_choice": {"type": "function", "function": {"name": "now"}}, "tools": []}, "tool_choice needs tools"),
    ({"tool_choice": "sometimes"}, "tool_choice must be"),
    ({"functions": [{"name": "now"}], "function_call": "auto"}, "functions is no longer understood: give tools"),
    ({"function_call": {"name": "now"}}, "function_call is no longer understood: give tools with tool_choice"),
    ({"edge_wsd": {"threshhold": 0.5}}, "unknown option 'threshhold'"),
    ({"edge_wsd": {"threshold": 2}}, "threshold must be"),
    ({"max_tokens": 0}, "max_tokens must be"),
]


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(("fields", "words"), WRONG)
def test_a_wrong_request_is_told_so_before_anything_is_sent(live_server, fields, words, streamed):
    error = post(live_server, {**ASKED, **fields, "stream": streamed}, status=400)["error"]
    assert words in error["message"]
    assert error["type"] == "invalid_request_error"
    assert set(error) == {"message", "type", "param", "code"}


def test_a_prompt_that_is_too_long_is_told_as_such(live_server):
    asked = {"messages": [{"role": "user", "content": "word " * 600}]}
    error = post(live_server, asked, status=400)["error"]
    assert error["code"] == "context_length_exceeded"
    assert "for a reply; shorten the prompt or raise" in error["message"]  # nobody has asked for a length


def test_an_unknown_model_is_not_found(live_server):
    assert post(live_server, {**ASKED, "model": "gpt-4"}, status=404)["error"]["code"] == "model_not_found"


def test_an_error_in_a_stream_is_a_line_of_it(server_with):
    """The server stops in the middle of an answer."""
    lines = lines_until_stopped(server_with(), "/v1/chat/completions", {**ASKED, "stream": True, "n": 4, **LONG})
    assert lines[-1] == "data: [DONE]"
    error = json.loads(lines[-2].removeprefix("data: "))["error"]
    assert error == {
        "message": "the server is stopping", "type": "server_error", "param": None, "code": "unavailable",
    }  # fmt: skip


@pytest.mark.parametrize("path", ["/chat/completions", "/v1/chat/completions/"])
def test_the_path_is_found_in_the_forms_that_clients_make_of_it(live_server, path):
    assert post(live_server, {**ASKED, "max_tokens": 2}, path)["choices"]
