"""The load test for 20 seconds; and that it notices what it is there to notice."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable
from typing import Any

import httpx
import psutil
import pytest

from scripts import load_test
from scripts.load_cases import Case, same
from scripts.load_test import Load, Outcome, Sample, load

MIB = 1 << 20
CASE = Case("echo", "/echo", {"text": "right"}, lambda got: "".join(str(one["text"]) for one in got))
QUIET = {"edge_wsd_requests_running": 0.0, "edge_wsd_requests_queued": 0.0}


@pytest.mark.slow
def test_64_clients_get_right_answers_and_nothing_is_left_of_them() -> None:
    outcome = asyncio.run(load(n_clients=64, seconds=20.0, parallel=4))
    assert outcome.is_sound, "\n".join(outcome.lines())
    assert min(outcome.requests[kind] for kind in ("answered", "left early", "nonsense refused")) > 0
    assert outcome.first_s, "some of the answers were streams"


def load_of(answer: Callable[[httpx.Request], httpx.Response]) -> Load:
    http = httpx.AsyncClient(base_url="http://server", transport=httpx.MockTransport(answer))
    return Load(http, psutil.Process(), [CASE], {json.dumps([CASE.path, CASE.body]): "right"})


def metrics_text(numbers: dict[str, float]) -> httpx.Response:
    return httpx.Response(200, text="# comment\n" + "".join(f"{name} {value}\n" for name, value in numbers.items()))


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (httpx.Response(200, json={"text": "wrong"}), "echo: wrong answer"),
        (httpx.Response(200, json={"other": 1}), "echo: wrong answer"),
        (httpx.Response(200, text="no JSON"), "echo: JSONDecodeError"),
        (httpx.Response(500, json={}), "echo: status 500"),
        (httpx.Response(429, json={}), "echo: status 429"),  # without Retry-After
    ],
)
def test_an_answer_that_is_not_the_right_one_is_an_error(answer: httpx.Response, error: str) -> None:
    test = load_of(lambda request: answer)
    asyncio.run(test._whole(CASE))
    assert dict(test.outcome.errors) == {error: 1} and not test.outcome.is_sound


def test_an_error_in_a_stream_is_one() -> None:
    streamed = Case("stream", "/echo", {"stream": True}, CASE.read)
    test = load_of(
        lambda request: httpx.Response(200, text='data: {"error": {"message": "broken"}}\n\ndata: [DONE]\n\n')
    )
    test.expected[json.dumps([streamed.path, streamed.body])] = ""
    asyncio.run(test._whole(streamed))
    assert list(test.outcome.errors) == ["stream: ValueError"]


def test_nonsense_that_is_answered_is_an_error() -> None:
    test = load_of(lambda request: httpx.Response(200, json={}))
    asyncio.run(test._nonsense(load_test.BAD_REQUESTS[0]))
    assert test.outcome.errors
    told = {"error": {"message": "no"}}
    test = load_of(lambda request: httpx.Response(400, json=told))
    asyncio.run(test._nonsense(load_test.BAD_REQUESTS[0]))
    assert not test.outcome.errors and test.outcome.requests["nonsense refused"] == 1


def test_a_slot_that_nobody_holds_is_a_leak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_test, "_SETTLE_S", 0.3)
    for running, leaks in ((1.0, 1), (0.0, 0)):
        test = load_of(lambda request, n=running: metrics_text({**QUIET, "edge_wsd_requests_running": n}))
        asyncio.run(test._settle())
        assert len(test.outcome.leaks) == leaks


@pytest.mark.parametrize(
    ("late", "words"),
    [
        ({}, ""),
        ({"rss": 140 * MIB}, "memory grew from 100 to 140 MiB"),
        ({"threads": 500}, "threads grew"),
        ({"files": 300}, "open files grew"),
    ],
)
def test_what_grows_is_a_leak(late: dict[str, int], words: str) -> None:
    usual: dict[str, Any] = {"rss": 100 * MIB, "threads": 6, "files": 20, "running": 0.0, "queued": 0.0}
    test = load_of(lambda request: metrics_text(QUIET))
    early, end = Sample(**usual), Sample(**{**usual, **late})
    test._look_for_leaks(early, [early] * 40 + [end] * 20)
    assert words in "; ".join(test.outcome.leaks) and bool(test.outcome.leaks) == bool(words)


def test_clients_do_all_that_they_are_there_for() -> None:
    told = httpx.Response(400, json={"error": "no"})

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"text": "right"}) if request.url.path == "/echo" else told

    test = load_of(answer)
    asyncio.run(test._client(random.Random(1), time.monotonic() + 2.0))
    assert set(test.outcome.requests) == {"answered", "left early", "nonsense refused"}


def test_rounding_is_no_wrong_answer_but_another_number_is() -> None:
    assert same([-1.0, -20.0], [-1.1, -22.0]) and not same([-1.0], [-2.0]) and not same([-1.0], [-1.0, -1.0])
    assert same("a", "a") and not same("a", "b")


def test_an_outcome_without_an_answer_is_not_sound() -> None:
    assert not Outcome().is_sound
