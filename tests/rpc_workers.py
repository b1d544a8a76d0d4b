"""Workers on loopback ports for the tests of layers on other machines, and a peer that speaks the protocol badly."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from edge_wsd.llama import rpc_protocol as rpc
from edge_wsd.llama import workers

COMMAND = [sys.executable, "-m", "edge_wsd", "worker"]
STARTS_WITHIN_S = 180.0


def require_backend() -> None:
    """Skips where llama.cpp has no RPC backend."""
    if not workers.is_built_in():
        pytest.skip("llama.cpp was built without RPC; scripts/build_rpc_backend.py builds it beside")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class Worker:
    """`edge-wsd worker` in a process of its own."""

    def __init__(self, address: str | None = None) -> None:
        self.address = address or f"127.0.0.1:{free_port()}"
        self.process = subprocess.Popen(
            [*COMMAND, "--listen", self.address, "--threads", "1"], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        end = time.monotonic() + STARTS_WITHIN_S
        while True:
            try:
                rpc.device_memory(rpc.parse_address(self.address), 5.0)
                return
            except rpc.WorkerError:
                if time.monotonic() > end or self.process.poll() is not None:
                    self.end()
                    raise
                time.sleep(0.05)

    def stop(self) -> None:
        """Hang, with all connections open."""
        self.process.send_signal(signal.SIGSTOP)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


def _new_worker() -> Worker:
    try:
        return Worker()
    except rpc.WorkerError:  # the free port was another's by the time that the worker had started
        return Worker()


@contextmanager
def running(n_workers: int = 1) -> Iterator[list[Worker]]:
    """Workers that are ended behind the block, whatever became of them."""
    require_backend()
    found: list[Worker] = []
    try:
        for _ in range(n_workers):
            found.append(_new_worker())
        yield found
    finally:
        for worker in found:
            worker.end()


class Peer:
    """A worker that passes everything on to a sound one, but for the answers that `change` makes others of."""

    def __init__(self, worker: str, change: Callable[[int, bytes], bytes]) -> None:
        self._worker, self._change = rpc.parse_address(worker), change
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed
                return
            with client:
                self._serve(client)

    def _serve(self, client: socket.socket) -> None:
        stream = client.makefile("rb")
        wire = rpc.Wire(self._worker, 30.0)
        try:
            while head := stream.read(rpc.HEAD.size):
                command, n_bytes = rpc.HEAD.unpack(head)
                body = stream.read(n_bytes)
                if command == rpc.HELLO:
                    answer = rpc.hello_answer()
                elif command == rpc.GET_TENSOR or command in rpc.ANSWERS:
                    wire.send(head + body)
                    answer = wire.receive(wire.length())
                else:
                    wire.send(head + body)
                    continue
                answer = self._change(command, answer)
                client.sendall(rpc.LENGTH.pack(len(answer)) + answer)
        except (OSError, rpc.WorkerError):  # the reader has had enough, or the worker is gone
            pass
        finally:
            wire.close()

    def close(self) -> None:
        self._listener.close()


def no_such_worker() -> str:
    """An address of this machine where nobody listens."""
    return f"127.0.0.1:{free_port()}"
