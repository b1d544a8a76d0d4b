"""What a person does on the page, and what is there to see."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

QUESTION = "How do I delete the file notes.txt?"
OTHER = "How do I list files by size?"
DONE = ".answer[aria-busy=false]"
LONG_MS = 60_000
KEPT = """async () => {
  const done = (request) => new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  const database = await done(indexedDB.open("edge-wsd"));
  const stores = database.transaction(["conversations", "turns"]);
  const found = ["conversations", "turns"].map((name) => done(stores.objectStore(name).getAll()));
  try {
    return await Promise.all(found);
  } finally {
    database.close();
  }
}"""
"""Gives the heads and the turns that the browser keeps."""


def ask(page: Page, question: str = QUESTION) -> None:
    """Types the question and sends it by Enter."""
    page.fill("#ask textarea", question)
    page.press("#ask textarea", "Enter")


def play(page: Page, text: str, status: int = 200, error: str | None = None) -> None:
    """What the server answers from now on: `text`, a token for every four characters, and then the error, if any."""
    failure = json.dumps({"error": {"message": error}})

    def lines() -> Iterator[str]:
        for position, at in enumerate(range(0, len(text), 4)):
            token = {"position": position, "id": 1, "text": text[at : at + 4], "author": "base"}
            extension = {"tokens": [{**token, "logprob": -0.5, "confidence": None}]}
            yield json.dumps({"choices": [{"index": 0, "delta": {}}], "edge_wsd": extension})
        yield from [failure] if error else [json.dumps({"choices": [{"finish_reason": "stop"}]}), "[DONE]"]

    def answered(route: Route) -> None:
        if status != 200:
            route.fulfill(status=status, json=json.loads(failure))
        else:
            body = "".join(f"data: {line}\n\n" for line in lines())
            route.fulfill(status=200, content_type="text/event-stream", body=body)

    page.route("**/v1/chat/completions", answered)


def wait_for_answers(page: Page, n: int, within: str = "#chat") -> None:
    expect(page.locator(f"{within} .answer")).to_have_count(n)
    expect(page.locator(f"{within} {DONE}")).to_have_count(n, timeout=LONG_MS)


def wait_for_pieces(page: Page, n: int) -> None:
    """Waits until an answer that is still being written has at least `n` pieces of text."""
    page.locator(".answer[aria-busy=true] [data-position]").nth(n - 1).wait_for(state="attached")


def answer(page: Page, question: str = QUESTION, n: int = 1) -> str:
    """The text of the `n`-th answer, once it is complete."""
    ask(page, question)
    wait_for_answers(page, n)
    return text_of(page, n - 1)


def kept_turns(page: Page, n: int) -> None:
    """Waits until the browser keeps `n` turns, all with a whole answer."""
    wait_until_kept(page, lambda turns: len(turns) == n and all(turn["answer"]["finish"] for turn in turns))


def wait_until_kept(page: Page, holds: Callable[[list[dict[str, Any]]], bool]) -> None:
    """Waits until `holds` is true of the turns that the browser keeps."""
    for _ in range(LONG_MS // 50):
        if holds(page.evaluate(KEPT)[1]):
            return
        page.wait_for_timeout(50)
    pytest.fail(f"the browser keeps {page.evaluate(KEPT)}")


def reload(page: Page) -> None:
    page.reload()
    page.wait_for_selector("body[data-ready]")


def text_of(page: Page, index: int = 0, within: str = "#chat") -> str:
    """The text without the sign of the switch."""
    spans = page.locator(f"{within} .answer").nth(index).locator("[data-position]")
    return "".join(spans.all_text_contents())


def authors(page: Page, author: str, index: int = 0, within: str = "#chat") -> list[int]:
    """The positions of the tokens that are shown as written by `author`."""
    spans = page.locator(f"{within} .answer").nth(index).locator(f".token.{author}")
    return sorted({int(span.get_attribute("data-position") or -1) for span in spans.all()})


def set_option(page: Page, name: str, value: str) -> None:
    """Sets one of the settings, in whatever kind of field it has."""
    field = page.locator(f"#set-{name}")
    if field.evaluate("field => field.localName") == "select":
        field.select_option(value)
    else:
        field.fill(value)
