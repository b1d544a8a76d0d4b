"""What a server does at once, and for how long; and that whoever leaves makes room."""

import asyncio
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import httpx
import pytest
from fastapi import APIRouter, Request

from edge_wsd._native import CancelFlag
from edge_wsd.decoding.events import Finished, Token
from edge_wsd.decoding.options import Options
from edge_wsd.errors import PairDiedError
from edge_wsd.serve.errors import ClientGone
from edge_wsd.serve.limits import Limits
from edge_wsd.serve.metrics import Metrics
from edge_wsd.serve.settings import ServeSettings
from edge_wsd.serve.state import serve_of
from edge_wsd.serve.streaming import live_response
from tests.live_servers import CPU, demo_models, running_server

LONG = 15_000
"""Tokens that take the demo pair longer than any of these tests waits."""


class Writing:
    """A family of routes that write endless answers, whole or in a stream, and remember what became of them."""

    def __init__(self):
        self.router = APIRouter()
        self.streams = []
        self.n_tokens = 0
        self.router.post("/v1/whole")(self.whole)
        self.router.post("/v1/live")(self.live)

    async def events(self, request, body):
        serve = serve_of(request)
        options = Options(
            max_tokens=body.get("max_tokens", LONG), mode="base", stop_loops=False, logit_bias={"a": 1000}
        )
        async with serve.limits.slot(request), serve.models.use("demo") as served:
            texts = [body.get("prompt", "hello")]
            serve.limits.check_prompt(served.pair, texts, CancelFlag())
            stream = await asyncio.to_thread(served.pair.session(options=options).stream, texts[0])
            self.streams.append(stream)
            yield None
            async for event in serve.limits.events(request, stream):
                self.n_tokens += isinstance(event, Token)
                yield event

    async def whole(self, request: Request, body: dict):
        async for event in self.events(request, body):
            if isinstance(event, Finished):
                return {"n_tokens": event.reply.stats.n_tokens}

    async def live(self, request: Request, body: dict):
        async def chunks():
            async for event in self.events(request, body):
                if event is None:
                    yield b""
                elif isinstance(event, Token):
                    yield f"data: {json.dumps(event.text)}\n\n".encode()

        return await live_response(request, chunks())


@pytest.fixture
def writing():
    return Writing()


@pytest.fixture
def serving(server_with, writing):
    """Starts a server of such answers, whose context is long enough for them."""

    def start(**settings):
        cpu = {"context_length": 1 << 14}
        return server_with(models_with(cpu, settings), routers=[writing.router], **settings)

    return start


def models_with(changes, settings):
    model = replace(CPU, **changes)
    loading = {"drafter_settings": model, "base_settings": model, "parallel": settings.get("parallel", 1)}
    return demo_models(loading=loading)


def eventually(holds, *, seconds=60):
    """Waits until `holds()`."""
    for _ in range(20 * seconds):
        if holds():
            return
        time.sleep(0.05)
    raise AssertionError("it never came to that")


def is_idle(server):
    return server.call(lambda: (server.serve.limits.running, server.serve.limits.queued)) == (0, 0)


@pytest.mark.parametrize("route", ["whole", "live"])
def test_a_client_that_leaves_frees_its_slot_long_before_the_answer_ends(serving, writing, route):
    server = serving()
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as sock:
        head = (
            f"POST /v1/{route} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n"
        )
        sock.sendall(head.encode() + b"{}")
        eventually(lambda: writing.n_tokens > 5)
        assert not is_idle(server)
    eventually(lambda: is_idle(server))
    assert writing.streams[0].is_over
    assert writing.n_tokens < LONG
    with server.client() as client:
        assert client.post("/v1/whole", json={"max_tokens": 3}).json() == {"n_tokens": 3}
        assert 'edge_wsd_answers_total{finish_reason="disconnected"} 1.0' in client.get("/metrics").text


def test_one_more_than_may_wait_is_refused_and_told_when_to_come_again(serving, writing):
    server = serving(parallel=1, max_queued=1)
    with ThreadPoolExecutor(2) as pool, server.client() as client:
        with client.stream("POST", "/v1/live", json={}) as first:
            lines = first.iter_lines()  # whoever drops it, leaves
            next(lines)
            waiting = pool.submit(client.post, "/v1/whole", json={"max_tokens": 2})
            eventually(lambda: server.call(lambda: server.serve.limits.queued) == 1)
            refused = httpx.post(f"{server.url}/v1/whole", json={}, timeout=60)
            assert refused.status_code == 429
            assert int(refused.headers["retry-after"]) >= 1
            assert refused.json()["error"]["code"] == "queue_full"
            assert client.get("/health").status_code == 200  # those that need no slot are answered
        assert waiting.result(60).json() == {"n_tokens": 2}
    eventually(lambda: is_idle(server))
    assert len(writing.streams) == 2


def test_who_leaves_the_queue_keeps_nobody_waiting(serving, writing):
    server = serving(parallel=1, max_queued=5)
    with server.client() as client, client.stream("POST", "/v1/live", json={}) as first:
        lines = first.iter_lines()
        next(lines)
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{server.url}/v1/whole", json={}, timeout=0.3)
        eventually(lambda: server.call(lambda: server.serve.limits.queued) == 0)
    eventually(lambda: is_idle(server))
    assert len(writing.streams) == 1


def test_slots_are_neither_lost_nor_made_by_clients_that_come_and_go(serving, writing):
    server = serving(parallel=3, max_queued=2)

    def come_and_go(number):
        body = {"max_tokens": 5 if number % 2 else LONG}
        try:
            if number % 3 == 0:
                return httpx.post(f"{server.url}/v1/whole", json=body, timeout=0.2, verify=False).status_code
            with httpx.stream("POST", f"{server.url}/v1/live", json=body, timeout=0.2, verify=False) as live:
                for _ in zip(range(5), live.iter_lines(), strict=False):
                    pass
                return live.status_code
        except httpx.TimeoutException:
            return None

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(come_and_go, range(48)))
    assert set(answers) <= {200, 429, None}
    eventually(lambda: is_idle(server))
    assert all(stream.is_over for stream in writing.streams)
    with server.client() as client:
        assert client.post("/v1/whole", json={"max_tokens": 3}).json() == {"n_tokens": 3}


def test_a_request_has_a_deadline(serving, writing):
    server = serving(deadline_s=0.4)
    with server.client() as client:
        answer = client.post("/v1/whole", json={}, timeout=60)
        assert (answer.status_code, answer.json()["error"]["code"]) == (504, "deadline_exceeded")
        with client.stream("POST", "/v1/live", json={}) as live:  # whose status has been sent by then
            *_, last = [line for line in live.iter_lines() if line]
        assert json.loads(last.removeprefix("data: "))["error"]["code"] == "deadline_exceeded"
    assert is_idle(server) and all(stream.is_over for stream in writing.streams)


def test_who_stops_reading_has_no_slot_beyond_the_deadline(server_with):
    router = APIRouter()

    @router.get("/v1/flood")
    async def flood(request: Request):
        async def chunks():
            async with serve_of(request).limits.slot(request) as slot:
                while not slot.gone.done():
                    yield b": much more than a connection holds\n\n" * 10_000

        return await live_response(request, chunks())

    server = server_with(routers=[router], deadline_s=0.5)
    host, port = server.url.removeprefix("http://").split(":")
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(30)
        sock.connect((host, int(port)))
        sock.sendall(f"GET /v1/flood HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        eventually(lambda: not is_idle(server))
        eventually(lambda: is_idle(server))
        eventually(lambda: not server.server.server_state.connections)


def test_the_deadline_counts_in_the_queue(serving):
    server = serving(parallel=1, deadline_s=0.5)
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda _: httpx.post(f"{server.url}/v1/whole", json={}, timeout=60), range(3)))
    assert [answer.status_code for answer in answers] == [504] * 3
    assert is_idle(server)


def test_a_prompt_may_have_so_many_tokens(serving):
    server = serving(max_prompt_tokens=20)
    with server.client() as client:
        assert client.post("/v1/whole", json={"prompt": "hello", "max_tokens": 1}).status_code == 200
        for prompt in ("hello " * 30, "x" * 100_000):
            answer = client.post("/v1/whole", json={"prompt": prompt})
            assert answer.status_code == 400
            assert answer.json()["error"]["code"] == "context_length_exceeded"
            assert "--max-prompt-tokens" in answer.json()["error"]["message"]


def test_a_stream_shows_that_it_lives_while_nothing_comes(server_with):
    router = APIRouter()

    @router.get("/v1/slow")
    async def slow(request: Request):
        async def chunks():
            yield b"data: 1\n\n"
            await asyncio.sleep(0.5)
            yield b"data: 2\n\n"

        return await live_response(request, chunks())

    server = server_with(routers=[router], heartbeat_s=0.05)
    with server.client() as client:
        lines = [line for line in client.get("/v1/slow").text.split("\n") if line]
    assert (lines[0], lines[-1]) == ("data: 1", "data: 2")
    assert len(lines) > 3 and all(line.startswith(":") for line in lines[1:-1])


def test_what_goes_wrong_before_the_first_chunk_is_an_ordinary_error_and_later_a_last_line(server_with):
    router = APIRouter()

    @router.get("/v1/failing")
    async def failing(request: Request, later: bool):
        async def chunks():
            if later:
                yield b""
            raise ValueError("secret of the house")
            yield

        return await live_response(request, chunks())

    server = server_with(routers=[router])
    with server.client() as client:
        early, late = (client.get("/v1/failing", params={"later": later}) for later in (False, True))
    assert (early.status_code, late.status_code) == (500, 200)
    assert late.text.startswith("data: ") and late.text.endswith("\n\n")
    assert json.loads(late.text.removeprefix("data: ")) == early.json()
    assert early.json()["error"]["type"] == "server_error" and "secret" not in early.text


def test_a_stopping_server_lets_answers_end_for_a_while_and_begins_none(writing):
    with (
        running_server(models_with({}, {}), routers=[writing.router], shutdown_s=60) as server,
        ThreadPoolExecutor(1) as pool,
        server.client() as client,
        client.stream("POST", "/v1/live", json={"max_tokens": 400}) as live,
    ):
        lines = live.iter_lines()
        next(lines)
        waiting = pool.submit(httpx.post, f"{server.url}/v1/whole", json={"max_tokens": 2}, timeout=60)
        eventually(lambda: server.call(lambda: server.serve.limits.queued) == 1)
        server.server.should_exit = True
        assert sum(line.startswith("data: ") for line in lines) > 300
        assert waiting.result(60).status_code == 503
    assert len(writing.streams) == 1 and writing.streams[0].is_over


def test_then_it_ends_them_and_says_so(serving, writing):
    server = serving(shutdown_s=0.2, parallel=1)
    results = []
    with server.client() as client, client.stream("POST", "/v1/live", json={}) as live:
        lines = live.iter_lines()
        next(lines)
        waiting = threading.Thread(target=lambda: results.append(httpx.post(f"{server.url}/v1/whole", json={})))
        waiting.start()
        eventually(lambda: server.call(lambda: server.serve.limits.queued) == 1)
        server.server.should_exit = True
        *_, last = [line for line in lines if line]
        waiting.join(60)
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "unavailable"
    assert results[0].status_code == 503 and "retry-after" in results[0].headers  # it was not even begun
    assert len(writing.streams) == 1 and writing.streams[0].is_over


class Visitor:
    """A client as `Limits` sees it: it may leave."""

    def __init__(self):
        self.state = SimpleNamespace()
        self.left = asyncio.Event()

    async def receive(self):
        await self.left.wait()
        return {"type": "http.disconnect"}


def test_a_slot_that_comes_as_its_client_leaves_goes_to_the_next():
    async def play():
        limits = Limits(ServeSettings(parallel=1, max_queued=2), Metrics())
        leaving, next_one = Visitor(), Visitor()

        async def ask(visitor):
            async with limits.slot(visitor):
                return limits.running

        async with limits.slot(Visitor()):
            asking = [asyncio.ensure_future(ask(visitor)) for visitor in (leaving, next_one)]
            while limits.queued < 2:
                await asyncio.sleep(0)
            leaving.left.set()
        # Both happened before anybody could look: the slot was given to a client that has left.
        with pytest.raises(ClientGone):
            await asking[0]
        assert await asyncio.wait_for(asking[1], 60) == 1
        assert (limits.running, limits.queued) == (0, 0)

    asyncio.run(play())


def test_who_is_cancelled_while_waiting_gives_the_slot_on():
    async def play():
        limits = Limits(ServeSettings(parallel=1), Metrics())

        async def ask():
            async with limits.slot(Visitor()):
                return limits.running

        async with limits.slot(Visitor()):
            asking = [asyncio.ensure_future(ask()) for _ in range(3)]
            while limits.queued < 3:
                await asyncio.sleep(0)
            asking[1].cancel()
        asking[0].cancel()  # which has the slot by now, and does not know it yet
        assert await asyncio.wait_for(asking[2], 60) == 1
        assert (limits.running, limits.queued) == (0, 0)

    asyncio.run(play())


def test_an_answer_that_fails_is_counted_as_one():
    class Failing:
        def __aiter__(self):
            return self

        async def __anext__(self):
            raise PairDiedError("killed")

        def close(self):
            pass

    async def play():
        metrics = Metrics()
        limits, visitor = Limits(ServeSettings(), metrics), Visitor()
        with pytest.raises(PairDiedError):
            async with limits.slot(visitor):
                await anext(limits.events(visitor, Failing()))
        return metrics.registry.get_sample_value("edge_wsd_answers_total", {"finish_reason": "failed"})

    assert asyncio.run(play()) == 1


def test_a_stream_shows_that_it_lives_while_it_waits_for_its_turn(serving, writing):
    server = serving(parallel=1, heartbeat_s=0.1)
    with server.client() as client, client.stream("POST", "/v1/live", json={}) as first:
        lines = first.iter_lines()
        next(lines)
        with client.stream("POST", "/v1/live", json={"max_tokens": 3}) as second:
            waiting = second.iter_lines()
            assert next(waiting).startswith(":")
            assert server.call(lambda: server.serve.limits.queued) == 1
            first.close()
            assert sum(line.startswith("data: ") for line in waiting) == 3
        with client.stream("POST", "/v1/live", json={}) as third:
            lines = third.iter_lines()
            next(lines)
            with client.stream("POST", "/v1/live", json={}) as leaving:  # before its first chunk has come
                waiting = leaving.iter_lines()
                assert next(waiting).startswith(":")
    eventually(lambda: is_idle(server))
    assert len(writing.streams) == 3
