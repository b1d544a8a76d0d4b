"""How the page reads a stream, piece by piece: its modules, called in a browser."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page

Opener = Callable[..., Page]

READ = """async ([parts]) => {
  const {serverSentEvents} = await import("/page/static/api.js");
  const bytes = new ReadableStream({
    start(control) {
      for (const part of parts) control.enqueue(new Uint8Array(part));
      control.close();
    }
  });
  const found = [];
  for await (const data of serverSentEvents(bytes)) found.push(data);
  return found;
}"""

TAKE = """async ([options, chunks]) => {
  const {Answer, summary} = await import("/page/static/answer.js");
  const answer = new Answer(options);
  const lines = chunks.map((chunk) => (answer.take(chunk), summary(answer)));
  return [answer.text, answer.tokens, lines];
}"""
OPTIONS = {"mode": "wsd", "rule": "window", "threshold": 0.8, "window": 6, "nudge_below": 0.4}


def taken(page: Page, *extensions: dict[str, Any]) -> tuple[str, list[dict[str, Any]], list[str]]:
    """Text, tokens and the line of facts after each chunk."""
    text, tokens, lines = page.evaluate(TAKE, [OPTIONS, [{"edge_wsd": each} for each in extensions]])
    return text, tokens, lines


def token(position: int, text: str, author: str = "drafter", logprob: float | None = None) -> dict[str, Any]:
    return {"position": position, "id": 1, "text": text, "author": author, "logprob": logprob, "confidence": None}


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_events_are_the_same_however_they_are_cut(open_page: Opener, end: str, size: int) -> None:
    lines = [": still reading", "", 'data: {"a": "naïve 🙂"}', "", ": ", "data:[DONE]", "", ""]
    whole = end.join(lines).encode()
    parts = [list(whole[at : at + size]) for at in range(0, len(whole), size)]
    assert open_page().evaluate(READ, [parts]) == ['{"a": "naïve 🙂"}', "[DONE]"]


def test_a_score_finds_its_token_whichever_comes_first(open_page: Opener) -> None:
    scored = {"scored": {"first": 0, "logprobs": [-1.0, -2.0], "confidences": [None, 0.5], "repeated": []}}
    _, tokens, _ = taken(open_page(), {"tokens": [token(0, "a")]}, scored, {"tokens": [token(1, "b")]})
    assert [(one["logprob"], one["confidence"]) for one in tokens] == [(-1.0, None), (-2.0, 0.5)]


def test_a_score_of_a_dropped_draft_is_not_the_base_s(open_page: Opener) -> None:
    """The base writes in a place where it had scored what the drafter wrote."""
    scored = {"scored": {"first": 0, "logprobs": [-3.0], "confidences": [0.1], "repeated": []}}
    _, tokens, _ = taken(open_page(), {"tokens": [token(0, "a", "base", -0.5)]}, scored)
    assert (tokens[0]["logprob"], tokens[0]["confidence"]) == (-0.5, None)


def test_text_that_was_held_back_comes_at_the_end(open_page: Opener) -> None:
    parts = [token(0, "a"), token(1, ""), token(1, "b"), token(0, "")]
    text, tokens, _ = taken(open_page(), *({"tokens": [part]} for part in parts))
    assert text == "ab"
    assert len(tokens) == 2


def test_a_long_prompt_tells_how_far_it_is_read(open_page: Opener) -> None:
    reading = {"reading": {"model": "base", "n_read": 128, "n_tokens": 400}}
    _, _, lines = taken(open_page(), {"dropped": 2}, reading, {"tokens": [token(0, "a")]})
    assert lines == ["waiting for the first word …", "the base reads 128 of 400 tokens …", "writing …"]


def test_old_messages_that_were_left_out_are_told_of(open_page: Opener) -> None:
    page = open_page()
    chunks = [{"edge_wsd": {"dropped": 2}}, {"choices": [{"finish_reason": "stop"}]}]
    _, _, lines = page.evaluate(TAKE, [OPTIONS, chunks])
    assert lines[-1] == "2 old messages left out, for want of room"


def test_a_chunk_of_another_kind_is_harmless(open_page: Opener) -> None:
    page = open_page()
    text, tokens, _ = page.evaluate(TAKE, [OPTIONS, [{"choices": [], "usage": {}}, json.loads("{}")]])
    assert (text, tokens) == ("", [])
