"""Requests that are too large, or do not arrive."""

import asyncio
import http.client
import json
import socket

import pytest
from fastapi import APIRouter


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_that_is_too_large_is_not_read(server_with, announced):
    server = server_with(max_body_bytes=2000)
    body = json.dumps({"content": "x" * 5000}).encode()

    def parts():
        yield body[:3000]
        yield body[3000:]

    headers = {"Content-Type": "application/json"}
    with server.client() as client:
        answer = client.post("/tokenize", content=body if announced else parts(), headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")
        assert client.post("/tokenize", json={"content": "ls"}).status_code == 200


def test_a_body_must_arrive_in_time(server_with):
    server = server_with(body_deadline_s=0.2)
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as sock:
        sock.sendall(f"POST /tokenize HTTP/1.1\r\nHost: {host}\r\nContent-Length: 100\r\n\r\n{{".encode())
        assert b" 408 " in sock.recv(4096)


@pytest.mark.parametrize(
    ("before", "head"),
    [(b"", b""), (b"", b"GET /hea"), (b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET /hea")],
)
def test_a_head_that_does_not_come_in_time_ends_the_connection(server_with, before, head):
    """However little comes meanwhile: else a few thousand silent connections would leave no file for anybody else."""
    server = server_with(body_deadline_s=0.3)
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as sock:
        sock.sendall(before)
        if before:
            assert b" 200 " in sock.recv(4096)
        sock.sendall(head)
        sock.settimeout(0.05)
        for _ in range(600):
            try:
                if not sock.recv(4096):
                    return
            except TimeoutError:
                if head:
                    sock.sendall(b"x")
            except ConnectionError:
                return
    raise AssertionError("it was never closed")


def test_who_is_answered_slowly_and_asks_again_keeps_the_connection(server_with):
    router = APIRouter()

    @router.get("/v1/slow")
    async def slow():
        await asyncio.sleep(0.5)
        return "done"

    server = server_with(routers=[router], body_deadline_s=0.3)
    host, port = server.url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=60)
    sockets = set()
    for _ in range(2):
        connection.request("GET", "/v1/slow")
        sockets.add(connection.sock)  # http.client makes a new one where the server has closed it
        assert json.loads(connection.getresponse().read()) == "done"
    assert len(sockets) == 1
    connection.close()
