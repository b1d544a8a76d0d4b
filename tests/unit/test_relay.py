"""The relay in front of a worker: it passes on what is sound, and answers harmlessly once the worker has failed.

llama.cpp's RPC client, which ends the process at whatever is no whole answer, is played by a `Wire`; the worker by a
thread. So these tests need no llama.cpp with RPC.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from edge_wsd.errors import OptionError, WorkerError
from edge_wsd.llama import rpc_protocol as rpc
from edge_wsd.llama.relay import Relay

SOUND = {
    rpc.ALLOC_BUFFER: struct.pack("<QQ", 77, 4096),
    rpc.GET_ALIGNMENT: struct.pack("<Q", 256),
    rpc.GET_MAX_SIZE: struct.pack("<Q", 2**64 - 1),
    rpc.BUFFER_GET_BASE: struct.pack("<Q", 1 << 40),
    rpc.SET_TENSOR_HASH: b"\0",
    rpc.COPY_TENSOR: b"\0",
    rpc.GET_DEVICE_MEMORY: struct.pack("<QQ", 5, 9),
    rpc.GET_ALLOC_SIZE: struct.pack("<Q", 640),
    rpc.DEVICE_COUNT: struct.pack("<I", 2),
}
SET_TENSOR = 6
BODY = struct.pack("<IQ", 0, 1000)
TENSOR = bytes(296) + struct.pack("<QQ", 0, 10)
"""The request for 10 bytes of a tensor."""

Answerer = Callable[[int, bytes], "bytes | None"]


def frame(answer: bytes) -> bytes:
    return rpc.LENGTH.pack(len(answer)) + answer


def sound(command: int, _body: bytes) -> bytes | None:
    """The bytes of an answer, or nothing for a command that has none."""
    if command == rpc.GET_TENSOR:
        return frame(b"0123456789")
    return frame(SOUND[command]) if command in SOUND else b""


@contextmanager
def relayed(
    answer: Answerer, timeout_s: float = 30.0, *, greets_after_s: float = 0.0
) -> Iterator[tuple[Relay, rpc.Wire, list[bytes]]]:
    """A relay to a worker that answers so, with llama.cpp's end of it. The worker leaves where the answer is None."""
    listener = socket.create_server(("127.0.0.1", 0))
    heard: list[bytes] = []

    def serve() -> None:
        client, _ = listener.accept()
        with client, client.makefile("rb") as stream:
            while head := stream.read(rpc.HEAD.size):
                command, n_bytes = rpc.HEAD.unpack(head)
                body = stream.read(n_bytes)
                if command == rpc.HELLO:
                    time.sleep(greets_after_s)
                    client.sendall(frame(rpc.hello_answer()))
                    continue
                heard.append(head + body)
                reply = answer(command, body)
                if reply is None:
                    return
                client.sendall(reply)

    threading.Thread(target=serve, daemon=True).start()
    with listener:
        relay = Relay(rpc.Address("127.0.0.1", listener.getsockname()[1]), timeout_s)
        wire = rpc.Wire(rpc.parse_address(relay.endpoint), 30.0)
        try:
            yield relay, wire, heard
        finally:
            wire.close()


def tensor(wire: rpc.Wire) -> bytes:
    wire.send(rpc.HEAD.pack(rpc.GET_TENSOR, len(TENSOR)) + TENSOR)
    return wire.receive(wire.length())


def test_what_is_sound_passes_unchanged():
    weights = rpc.HEAD.pack(SET_TENSOR, 3_000_000) + bytes(range(250)) * 12_000
    with relayed(sound) as (relay, wire, heard):
        for command, answer in SOUND.items():
            assert wire.ask(command, BODY) == answer
        wire.send(weights)
        assert tensor(wire) == b"0123456789"
        asked = [rpc.HEAD.pack(command, len(BODY)) + BODY for command in SOUND]
        assert heard == [*asked, weights, rpc.HEAD.pack(rpc.GET_TENSOR, len(TENSOR)) + TENSOR]
        relay.require_sound()


SHORT_S = 0.3
FAILURES: dict[str, tuple[Answerer, str]] = {
    "leaves": (lambda _command, _body: None, "closed the connection|is lost"),
    "hangs": (lambda _command, _body: b"", f"said nothing for {SHORT_S} s"),
    "stops inside": (lambda command, body: (sound(command, body) or b"")[:8], f"said nothing for {SHORT_S} s"),
    "is too short": (lambda _command, _body: rpc.LENGTH.pack(0), "answers what no worker"),
    "is endless": (lambda _command, _body: rpc.LENGTH.pack(2**63), "answers what no worker"),
}


@pytest.mark.parametrize("answer, reason", FAILURES.values(), ids=FAILURES)
@pytest.mark.parametrize("command", [*SOUND, rpc.GET_TENSOR])
def test_a_failure_is_remembered_and_every_answer_is_whole(command, answer, reason):
    """One byte less, or another length, and llama.cpp would end the process."""
    timeout_s = SHORT_S if "said nothing" in reason else 30.0  # the others are no matter of time
    with relayed(answer, timeout_s) as (relay, wire, _):
        for _again in range(2):
            if command == rpc.GET_TENSOR:
                assert tensor(wire) == bytes(10)
            else:
                assert wire.ask(command, BODY) == rpc.ANSWERS[command].harmless
        with pytest.raises(WorkerError, match=reason):
            relay.require_sound()


def test_a_worker_has_longer_to_greet_than_to_answer():
    """It may be starting, and a machine be busy: a limit of 0.3 s once counted for the greeting as well."""
    with relayed(sound, SHORT_S, greets_after_s=3 * SHORT_S) as (relay, wire, _):
        assert wire.ask(rpc.SET_TENSOR_HASH, BODY) == SOUND[rpc.SET_TENSOR_HASH]
        relay.require_sound()


def test_a_worker_that_leaves_before_it_is_greeted_is_an_error(monkeypatch):
    """macOS tells at an option of the socket; that error once closed llama.cpp's end, which ends the process."""

    class Gone(socket.socket):
        def setsockopt(self, *_):
            raise OSError(22, "Invalid argument")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = rpc.Address("127.0.0.1", listener.getsockname()[1])
        monkeypatch.setattr(socket, "socket", Gone)
        with pytest.raises(WorkerError, match=r"connection .* is lost \(Invalid argument\)"):
            rpc.Wire(address, 1.0)


def test_what_comes_of_a_tensor_before_a_failure_is_filled_up():
    with relayed(lambda *_: rpc.LENGTH.pack(10) + b"0123", SHORT_S) as (relay, wire, _):
        assert tensor(wire) == b"0123" + bytes(6)
        assert relay.has_failed


def test_weights_go_nowhere_once_the_worker_has_failed():
    """llama.cpp goes on sending until it has come back with a result."""
    with relayed(lambda *_: None) as (_, wire, heard):
        for _again in range(3):
            wire.send(rpc.HEAD.pack(SET_TENSOR, 3_000_000) + bytes(3_000_000))
        assert tensor(wire) == bytes(10)
        assert len(heard) == 1


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        (rpc.ALLOC_BUFFER, struct.pack("<QQ", 77, 999)),
        (rpc.ALLOC_BUFFER, struct.pack("<QQ", 77, 2**63)),
        (rpc.GET_ALIGNMENT, struct.pack("<Q", 0)),
        (rpc.GET_ALIGNMENT, struct.pack("<Q", 100)),
        (rpc.GET_MAX_SIZE, bytes(8)),
        (rpc.BUFFER_GET_BASE, bytes(8)),
        (rpc.BUFFER_GET_BASE, struct.pack("<Q", 2**64 - 1)),
        (rpc.GET_DEVICE_MEMORY, struct.pack("<QQ", 9, 5)),
        (rpc.GET_ALLOC_SIZE, struct.pack("<Q", 2**64 - 1)),
        (rpc.DEVICE_COUNT, bytes(4)),
        (rpc.SET_TENSOR_HASH, b"\2"),
    ],
)
def test_a_value_that_would_end_the_process_does_not_pass(command, answer):
    with relayed(lambda *_: frame(answer)) as (relay, wire, _):
        assert wire.ask(command, BODY) == rpc.ANSWERS[command].harmless
        with pytest.raises(WorkerError, match="answers what no worker"):
            relay.require_sound()


def test_a_buffer_that_a_worker_has_no_room_for_is_no_failure():
    with relayed(lambda *_: frame(bytes(16))) as (relay, wire, _):
        assert wire.ask(rpc.ALLOC_BUFFER, BODY) == bytes(16)
        relay.require_sound()


@pytest.mark.parametrize(
    "text", ["", "host", "host:", ":5", "host:0", "host:65536", "a b:1", "[::1]:5", "h:-1", 5, None]
)
def test_an_address_is_a_host_and_a_port(text):
    with pytest.raises(OptionError, match=r"^workers must be"):
        rpc.parse_address(text)


def test_addresses_may_be_one_text_or_several():
    assert rpc.addresses_of("a:1, b:2") == rpc.addresses_of(["a:1", "b:2"]) == ("a:1", "b:2")
    with pytest.raises(OptionError, match="different"):
        rpc.addresses_of("a:1,a:01")
