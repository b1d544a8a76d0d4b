"""Stands between llama.cpp and a worker, so that no worker can end this process.

llama.cpp's RPC client calls abort() when a worker goes away or answers nonsense, and waits for ever for one that hangs.
So it is given an address on loopback, where this relay passes everything on. Once the worker fails, the relay answers
in its place: buffers cannot be had and tensors are zeros, until llama.cpp has come back with a result, which
`require_sound` then refuses.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time

from edge_wsd.errors import WorkerError
from edge_wsd.llama.rpc_protocol import (
    ANSWERS,
    GET_TENSOR,
    HEAD,
    HELLO,
    LENGTH,
    Address,
    Wire,
    hello_answer,
    tensor_length,
)

_PIECE = 1 << 20
_RETRY_S = 0.1


class Relay:
    """One worker as llama.cpp sees it. A relay whose worker has failed stays as it is: the next load has a new one."""

    def __init__(self, address: Address, timeout_s: float) -> None:
        self.address = address
        self.timeout_s = timeout_s
        self.memory: list[tuple[int, int]] = []
        """Free and whole memory of each of its devices, as last asked for."""
        self.n_clients = 0
        """How many connections llama.cpp holds: while there is one, the worker listens to nobody else."""
        self._failure = ""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, name=f"edge-wsd worker {address}", daemon=True).start()

    @property
    def has_failed(self) -> bool:
        return bool(self._failure)

    def require_sound(self) -> None:
        """Raises `WorkerError` if the worker has failed, since when nothing that came from here is true."""
        if self._failure:
            raise WorkerError(f"{self._failure}; close the pair and load it again")

    def fail(self, error: WorkerError) -> None:
        self._failure = self._failure or str(error)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError as error:  # no file descriptor is free: llama.cpp waits until one is
                self.fail(WorkerError(f"worker {self.address}: {error.strerror or error}"))
                time.sleep(_RETRY_S)
                continue
            self.n_clients += 1
            with client, contextlib.suppress(OSError, EOFError):  # llama.cpp has closed its end: it needs no more
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                _Connection(self, client).run()
            self.n_clients -= 1


class _Connection:
    """One of llama.cpp's connections and, as long as the worker is sound, the wire to it."""

    def __init__(self, relay: Relay, client: socket.socket) -> None:
        self._relay, self._client = relay, client
        self._wire: Wire | None = None

    def run(self) -> None:
        """Until llama.cpp closes its end: EOFError, OSError."""
        if not self._relay.has_failed:
            try:
                self._wire = Wire(self._relay.address, self._relay.timeout_s)
            except WorkerError as error:
                self._fail(error)
        try:
            while True:
                self._pass_on(*HEAD.unpack(self._take(HEAD.size)))
        finally:
            if self._wire is not None:
                self._wire.close()

    def _pass_on(self, command: int, n_bytes: int) -> None:
        """One request and its answer."""
        if command == HELLO:  # the wire has greeted already
            self._take(n_bytes)
            self._give(LENGTH.pack(len(hello_answer())) + hello_answer())
        elif command == GET_TENSOR:
            request = self._take(n_bytes)
            self._send(HEAD.pack(command, n_bytes) + request)
            self._return_tensor(tensor_length(request))
        elif command in ANSWERS:
            request = self._take(n_bytes)
            self._send(HEAD.pack(command, n_bytes) + request)
            answer = self._answer(command, request)
            self._give(LENGTH.pack(len(answer)) + answer)
        else:
            self._send(HEAD.pack(command, n_bytes))
            while n_bytes:
                piece = self._take(min(n_bytes, _PIECE))
                self._send(piece)
                n_bytes -= len(piece)

    def _answer(self, command: int, request: bytes) -> bytes:
        """The worker's, or one that does no harm."""
        expected = ANSWERS[command]
        if self._wire is not None:
            try:
                if self._wire.length() == expected.n_bytes:
                    answer = self._wire.receive(expected.n_bytes)
                    if expected.is_sound(request, answer):
                        return answer
                self._fail(self._wire.nonsense())
            except WorkerError as error:
                self._fail(error)
        return expected.harmless

    def _return_tensor(self, n_bytes: int) -> None:
        """The worker's numbers, and zeros for those that do not come."""
        self._give(LENGTH.pack(n_bytes))
        if self._wire is not None:
            try:
                if self._wire.length() != n_bytes:
                    raise self._wire.nonsense()
                while n_bytes:
                    piece = self._wire.receive_some(min(n_bytes, _PIECE))
                    self._give(piece)
                    n_bytes -= len(piece)
            except WorkerError as error:
                self._fail(error)
        while n_bytes:
            piece = bytes(min(n_bytes, _PIECE))
            self._give(piece)
            n_bytes -= len(piece)

    def _send(self, data: bytes) -> None:
        if self._wire is not None:
            try:
                self._wire.send(data)
            except WorkerError as error:
                self._fail(error)

    def _fail(self, error: WorkerError) -> None:
        self._relay.fail(error)
        if self._wire is not None:
            self._wire.close()
            self._wire = None

    def _take(self, n_bytes: int) -> bytes:
        """What llama.cpp sends."""
        data = bytearray(n_bytes)
        view, n_taken = memoryview(data), 0
        while n_taken < n_bytes:
            n_new = self._client.recv_into(view[n_taken:])
            if not n_new:
                raise EOFError
            n_taken += n_new
        return bytes(data)

    def _give(self, data: bytes) -> None:
        self._client.sendall(data)
