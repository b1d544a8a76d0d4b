"""`/v1/completions`: what it answers is what the library says of the same text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from edge_wsd import Message, Pair
from edge_wsd.serve.extension import LOGPROB_FLOOR
from edge_wsd.serve.openai.legacy_logprobs import LegacyEntries, token_name
from tests.live_servers import CPU, demo_models, running_server

EXACT = replace(CPU, exact=True)  # so an answer does not depend on what is written beside it
TEXT = "To list files"
OTHER = "To show the free disk space, type"
EMOJI = "emoji: \U0001f600\U0001f600"  # of which no token of the demo pair is a whole one


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with Pair.demo(drafter_settings=EXACT, base_settings=EXACT) as pair:
        yield pair


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    models = demo_models(loading={"drafter_settings": EXACT, "base_settings": EXACT, "parallel": 2})
    with running_server(models, parallel=2) as server, server.client() as client:
        yield client


def asked(client: httpx.Client, **body: Any) -> dict[str, Any]:
    response = client.post("/v1/completions", json=body)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def refused(client: httpx.Client, **body: Any) -> dict[str, Any]:
    response = client.post("/v1/completions", json=body)
    assert response.status_code == 400, response.text
    found: dict[str, Any] = response.json()["error"]
    return found


def chunks(client: httpx.Client, **body: Any) -> list[dict[str, Any]]:
    with client.stream("POST", "/v1/completions", json={**body, "stream": True}) as response:
        assert response.status_code == 200, response.read()
        lines = [line for line in response.iter_lines() if line and not line.startswith(":")]
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


def texts(answer: dict[str, Any]) -> list[str]:
    return [choice["text"] for choice in sorted(answer["choices"], key=lambda choice: choice["index"])]


# Writing on


@pytest.mark.parametrize(("model", "mode"), [("demo", "wsd"), ("demo:base", "base"), ("demo:drafter", "drafter")])
def test_an_answer_is_what_the_library_writes(client: httpx.Client, pair: Pair, model: str, mode: Any) -> None:
    expected = pair.complete(TEXT, mode=mode, max_tokens=20).result()
    answer = asked(client, model=model, prompt=TEXT, max_tokens=20)
    assert answer["object"] == "text_completion" and answer["model"] == model and answer["id"].startswith("cmpl-")
    assert answer["choices"] == [
        {"text": expected.text, "index": 0, "logprobs": None, "finish_reason": expected.finish_reason}
    ]
    n_prompt = max(expected.stats.base_prompt_tokens * (mode != "drafter"), expected.stats.drafter_prompt_tokens)
    assert answer["usage"]["prompt_tokens"] == n_prompt
    assert answer["usage"]["completion_tokens"] == len(expected.tokens)
    assert answer["usage"]["total_tokens"] == n_prompt + len(expected.tokens)


def test_what_was_in_memory_is_told(client: httpx.Client) -> None:
    text = "How do I find what was read before? "
    first, second = (asked(client, prompt=text, max_tokens=12)["usage"] for _ in range(2))
    assert first["prompt_tokens_details"]["cached_tokens"] < first["prompt_tokens"] - 1
    assert second["prompt_tokens_details"]["cached_tokens"] == second["prompt_tokens"] - 1


def test_without_a_bound_it_is_openais(client: httpx.Client) -> None:
    assert asked(client, prompt=TEXT)["usage"]["completion_tokens"] == 16


def test_the_bound_has_llama_cpps_name_as_well(client: httpx.Client) -> None:
    assert asked(client, prompt=TEXT, n_predict=3)["usage"]["completion_tokens"] == 3
    assert asked(client, prompt=TEXT, n_predict=3, max_tokens=5)["usage"]["completion_tokens"] == 5
    assert asked(client, prompt=TEXT, n_predict=0)["usage"]["completion_tokens"] == 0


def test_stop_strings_end_an_answer_and_are_no_part_of_it(client: httpx.Client) -> None:
    whole = asked(client, prompt=TEXT, max_tokens=30)["choices"][0]["text"]
    stop = whole[6:10]
    choice = asked(client, prompt=TEXT, max_tokens=30, stop=[stop], logprobs=1)["choices"][0]
    assert choice["text"] == whole[: whole.index(stop)] and choice["finish_reason"] == "stop"
    assert max(choice["logprobs"]["text_offset"]) <= len(choice["text"])


def test_each_of_several_answers_has_a_seed_of_its_own(client: httpx.Client) -> None:
    drawn = {"prompt": [TEXT, OTHER], "max_tokens": 8, "temperature": 1.5}
    answer = asked(client, **drawn, seed=5, n=3)
    assert [choice["index"] for choice in answer["choices"]] == list(range(6))
    assert len(set(texts(answer)[:3])) > 1
    for number in range(3):
        alone = asked(client, **drawn, seed=5 + number)
        assert texts(alone) == [texts(answer)[number], texts(answer)[3 + number]]


def test_prompts_are_texts_or_tokens_one_or_several(client: httpx.Client, pair: Pair) -> None:
    both = [[token.id for token in pair.score(text).result().prompt] for text in (TEXT, OTHER)]
    expected = texts(asked(client, prompt=[TEXT, OTHER], max_tokens=10))
    assert len(set(expected)) == 2
    assert texts(asked(client, prompt=both, max_tokens=10)) == expected
    assert texts(asked(client, prompt=both[0], max_tokens=10)) == expected[:1]
    assert texts(asked(client, prompt=OTHER, max_tokens=10)) == expected[1:]
    once, twice = (asked(client, prompt=both, max_tokens=10, n=n)["usage"] for n in (1, 2))
    assert twice["prompt_tokens"] == once["prompt_tokens"] == sum(map(len, both)), "a prompt counts once"
    assert twice["completion_tokens"] == 2 * once["completion_tokens"]


def test_names_of_control_tokens_are_those_tokens_unless_that_is_unwanted(client: httpx.Client, pair: Pair) -> None:
    end = pair.base.model.vocab.text(pair.base.model.vocab.eos)
    lengths = [
        asked(client, prompt=f"ls {end}", max_tokens=1, edge_wsd={"special": special})["usage"]["prompt_tokens"]
        for special in (True, False)
    ]
    assert asked(client, prompt=f"ls {end}", max_tokens=1)["usage"]["prompt_tokens"] == lengths[0] < lengths[1]


# Log-probabilities


def assert_lists_the_prompt(logprobs: dict[str, Any], scored: Any, n_top: int) -> None:
    """The prompt's part of the lists, against the library's scores of the same tokens."""
    n = len(scored)
    assert logprobs["tokens"][:n] == [token_name(token.text, token.piece) for token in scored]
    assert logprobs["token_logprobs"][0] is None and logprobs["top_logprobs"][0] is None
    assert logprobs["token_logprobs"][1:n] == pytest.approx([token.logprob for token in scored[1:]], abs=1e-6)
    for token, top, logprob in zip(
        scored[1:], logprobs["top_logprobs"][1:n], logprobs["token_logprobs"][1:n], strict=True
    ):
        assert top[token_name(token.text, token.piece)] == logprob, "the very same number: clients compare"
        assert min(n_top, 1) <= len(top) <= n_top + 1


@pytest.mark.parametrize("model", ["demo", "demo:drafter"])
@pytest.mark.parametrize("n_top", [0, 3])
def test_a_text_is_scored_and_nothing_written(client: httpx.Client, pair: Pair, model: str, n_top: int) -> None:
    scored = pair.score(TEXT, "drafter" if "drafter" in model else "base", top_logprobs=3).result().prompt[1:]
    answer = asked(client, model=model, prompt=TEXT, max_tokens=0, echo=True, logprobs=n_top)
    choice = answer["choices"][0]
    assert choice["text"] == TEXT and choice["finish_reason"] == "length"
    assert len(choice["logprobs"]["tokens"]) == len(scored), "the BOS is the model's own affair"
    assert_lists_the_prompt(choice["logprobs"], scored, n_top)
    assert answer["usage"]["completion_tokens"] == 0 and answer["usage"]["prompt_tokens"] == len(scored) + 1


def test_tokens_are_scored_as_they_were_sent(client: httpx.Client, pair: Pair) -> None:
    scored = pair.score(TEXT, top_logprobs=1).result().prompt
    choice = asked(client, prompt=[token.id for token in scored], max_tokens=0, echo=True, logprobs=1)["choices"][0]
    assert len(choice["logprobs"]["tokens"]) == len(scored)
    assert_lists_the_prompt(choice["logprobs"], scored, 1)
    assert choice["text"] == scored[0].text + TEXT


def test_models_in_a_process_of_their_own_score_as_well(client: httpx.Client, pair: Pair) -> None:
    ids = [token.id for token in pair.score(TEXT).result().prompt]
    body = {"prompt": ids, "max_tokens": 3, "echo": True, "logprobs": 1}
    models = demo_models(loading={"drafter_settings": EXACT, "base_settings": EXACT, "isolate": True})
    with running_server(models) as server, server.client() as isolated:
        assert asked(isolated, **body)["choices"] == asked(client, **body)["choices"]


def test_an_echo_and_an_answer_stand_in_one_list(client: httpx.Client, pair: Pair) -> None:
    scored = pair.score(TEXT, top_logprobs=2).result().prompt[1:]
    reply = pair.complete(TEXT, max_tokens=12, top_logprobs=2).result()
    choice = asked(client, prompt=TEXT, max_tokens=12, echo=True, logprobs=2)["choices"][0]
    logprobs = choice["logprobs"]
    assert choice["text"] == TEXT + reply.text
    assert "".join(logprobs["tokens"]) == choice["text"]
    assert_lists_the_prompt(logprobs, scored, 2)
    written = logprobs["token_logprobs"][len(scored) :]
    assert written == pytest.approx([token.logprob for token in reply.tokens], abs=1e-6)
    for token, offset in zip(logprobs["tokens"], logprobs["text_offset"], strict=True):
        assert choice["text"][offset:].startswith(token)
    without = asked(client, prompt=TEXT, max_tokens=12, logprobs=2)["choices"][0]["logprobs"]
    assert without["tokens"] == logprobs["tokens"][len(scored) :] and without["text_offset"][0] == 0


def test_the_token_that_ends_an_answer_is_listed_as_the_harness_expects(client: httpx.Client, pair: Pair) -> None:
    """lm-evaluation-harness asks for one token and drops the last entry, whatever it is."""
    prompt = pair.base.encode([Message("user", "hello")]).tokens
    whole = pair.complete(prompt, mode="base", max_tokens=200).result()
    assert whole.end is not None
    ended = [*prompt, *(token.id for token in whole.tokens)]
    body = {"model": "demo:base", "prompt": ended, "max_tokens": 1, "echo": True, "logprobs": 1}
    choice = asked(client, **body)["choices"][0]
    assert choice["finish_reason"] == "stop"
    assert len(choice["logprobs"]["tokens"]) == len(ended) + 1
    assert choice["logprobs"]["tokens"][-1] == whole.end.text


def test_also_a_draft_that_is_cut_off_has_numbers(client: httpx.Client) -> None:
    logprobs = asked(client, prompt=TEXT, max_tokens=3, logprobs=0)["choices"][0]["logprobs"]
    assert len(logprobs["tokens"]) == 3 and None not in logprobs["token_logprobs"]
    assert [len(top) for top in logprobs["top_logprobs"]] == [1, 1, 1]


def test_half_characters_have_names(client: httpx.Client, pair: Pair) -> None:
    scored = pair.score(EMOJI).result().prompt[1:]
    halves = [token.piece for token in scored if "\ufffd" in token.text]
    choice = asked(client, prompt=EMOJI, max_tokens=0, echo=True, logprobs=1)["choices"][0]
    named = [token for token in choice["logprobs"]["tokens"] if token.startswith("bytes:")]
    assert halves and [bytes.fromhex(name[6:].replace("\\x", "")) for name in named] == halves
    assert sorted(choice["logprobs"]["text_offset"]) == choice["logprobs"]["text_offset"]
    assert choice["logprobs"]["text_offset"][-1] < len(EMOJI)


def test_what_has_no_probability_is_a_number_all_the_same(pair: Pair) -> None:
    token = pair.score(TEXT).result().prompt[-1]
    entries = LegacyEntries(0)
    entries.add([type(token)(token.id, token.text, token.piece, float("-inf"))])
    listed = entries.taken(longest=5)
    assert listed is not None and listed.token_logprobs == [LOGPROB_FLOOR]


# Streams


def test_a_stream_adds_up_to_the_whole_answer(client: httpx.Client) -> None:
    body = {"prompt": [TEXT, OTHER], "max_tokens": 20, "n": 1}
    whole, parts = asked(client, **body), chunks(client, **body, stream_options={"include_usage": True})
    usage = parts.pop()
    assert usage["choices"] == [] and usage["usage"]["total_tokens"] == whole["usage"]["total_tokens"]
    for expected in whole["choices"]:
        mine = [choice for part in parts for choice in part["choices"] if choice["index"] == expected["index"]]
        assert "".join(choice["text"] for choice in mine) == expected["text"]
        assert [choice["finish_reason"] for choice in mine][-1] == expected["finish_reason"]
        assert not any(choice["finish_reason"] for choice in mine[:-1])
    assert all(part["usage"] is None and part["id"] == parts[0]["id"] for part in parts)


@pytest.mark.parametrize("max_tokens", [0, 3, 20])
def test_a_stream_lists_each_token_once(client: httpx.Client, max_tokens: int) -> None:
    body = {"prompt": TEXT, "max_tokens": max_tokens, "echo": True, "logprobs": 2}
    expected = asked(client, **body)["choices"][0]
    choices = [choice for part in chunks(client, **body) for choice in part["choices"]]
    assert "".join(choice["text"] for choice in choices) == expected["text"]
    listed = [choice["logprobs"] for choice in choices if choice.get("logprobs")]
    for name in ("tokens", "text_offset"):
        assert [entry for each in listed for entry in each[name]] == expected["logprobs"][name]
    found = [entry for each in listed for entry in each["token_logprobs"]]
    assert found[1:] == pytest.approx(expected["logprobs"]["token_logprobs"][1:], abs=1e-6)


# The extension


def test_who_wrote_what_is_told_to_those_who_ask(client: httpx.Client, pair: Pair) -> None:
    reply = pair.complete(TEXT, max_tokens=12, switch_at=3).result()
    body = {"prompt": TEXT, "max_tokens": 12, "edge_wsd": {"switch_at": 3}}
    told = asked(client, **body)["edge_wsd"]
    assert [token["author"] for token in told["tokens"]] == [token.source for token in reply.tokens]
    assert told["switch"]["index"] == 2 and told["switch"]["reason"] == "forced"
    parts = [part["edge_wsd"] for part in chunks(client, **body) if "edge_wsd" in part]
    authors = {token["position"]: token["author"] for part in parts for token in part.get("tokens") or []}
    assert [authors[number] for number in range(12)] == [token.source for token in reply.tokens]
    assert parts[-1]["stats"]["n_tokens"] == 12
    several = asked(client, **{**body, "n": 2})
    assert "edge_wsd" not in several and all(choice["edge_wsd"] for choice in several["choices"])
    assert "edge_wsd" not in asked(client, prompt=TEXT, max_tokens=2)


# What is refused


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        ({"prompt": TEXT, "suffix": "."}, "suffix", "suffix cannot be used"),
        ({"prompt": TEXT, "best_of": 3}, "best_of", "n answers"),
        ({"prompt": [TEXT] * 65, "n": 2}, "prompt", "at most 128"),
        ({"prompt": []}, "prompt", "at least one"),
        ({}, "prompt", "prompt"),
        ({"prompt": None}, None, "prompt"),
        ({"prompt": {"a": 1}}, None, "prompt"),
        ({"prompt": TEXT, "logprobs": 21}, "logprobs", "20"),
        ({"prompt": TEXT, "n": 0}, "n", "1"),
        ({"prompt": [[]]}, None, "token ids"),
        ({"prompt": [[5, 10**6]]}, None, "1000000"),
        ({"prompt": "\ud800"}, None, "whole characters"),
        ({"prompt": "ls " * 3000}, None, "512"),
        ({"prompt": TEXT, "edge_wsd": {"modus": 1}}, None, "modus"),
        ({"prompt": TEXT, "edge_wsd": {"modus": 1}, "max_tokens": 0}, None, "modus"),
        ({"prompt": TEXT, "max_tokens": -2}, None, "max_tokens"),
    ],
)
def test_what_cannot_be_done_is_refused_in_a_sentence(
    client: httpx.Client, body: dict[str, Any], param: str | None, words: str
) -> None:
    for stream in (False, True):
        response = client.post(
            "/v1/completions",
            content=json.dumps({**body, "stream": stream}),
            headers={"Content-Type": "application/json"},
        )
        error = response.json()["error"]
        assert response.status_code == 400 and words in error["message"] and "\n" not in error["message"]
        assert param is None or error["param"] == param


def test_empty_wishes_are_no_wishes(client: httpx.Client) -> None:
    plain = asked(client, prompt=TEXT, max_tokens=5)["choices"]
    empty = {"suffix": "", "best_of": 1, "n": None, "echo": None, "logprobs": False, "stop": None, "user": "me"}
    assert asked(client, prompt=TEXT, max_tokens=5, **empty)["choices"] == plain


def test_prompts_are_bounded_as_the_server_says(server_with: Any) -> None:
    with server_with(max_prompt_tokens=8).client() as client:
        assert asked(client, prompt="ls", max_tokens=1)
        for prompt in ("ls -l " * 20, [5] * 9, [[5] * 9]):
            assert refused(client, prompt=prompt)["code"] == "context_length_exceeded"


def test_a_form_binds_the_whole_text(client: httpx.Client) -> None:
    schema = {"type": "object", "properties": {"safe": {"type": "boolean"}}, "required": ["safe"]}
    form = {"type": "json_schema", "json_schema": {"schema": schema}}
    whole = asked(client, prompt=TEXT, response_format=form, max_tokens=40)
    assert json.loads(texts(whole)[0])["safe"] in (True, False)
    streamed = chunks(client, prompt=TEXT, response_format=form, max_tokens=40)
    assert "".join(chunk["choices"][0]["text"] for chunk in streamed) == texts(whole)[0]
