"""llama.cpp's RPC protocol, as far as the one who stands between a client and a worker has to know it.

A request is a command (1 byte), the length of its body (8 bytes) and the body; an answer, which only some commands
have, is a length and a body. Numbers are little-endian. The version belongs to the llama.cpp that edge-wsd requires.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass

from edge_wsd import checks
from edge_wsd.errors import OptionError, WorkerError

MAJOR, MINOR = 7, 0
DEFAULT_PORT = 50052
CONNECT_TIMEOUT_S = 10.0
HEAD = struct.Struct("<BQ")
LENGTH = struct.Struct("<Q")

ALLOC_BUFFER, GET_ALIGNMENT, GET_MAX_SIZE, BUFFER_GET_BASE = 0, 1, 2, 3
SET_TENSOR_HASH, GET_TENSOR, COPY_TENSOR, GET_DEVICE_MEMORY = 7, 8, 9, 11
GET_ALLOC_SIZE, HELLO, DEVICE_COUNT = 13, 14, 15

_CAPABILITIES = bytes(24)  # none: plain TCP
_HELLO = struct.Struct("<BBBx24s")
_U32, _U64, _TWO_U64 = struct.Struct("<I"), struct.Struct("<Q"), struct.Struct("<QQ")
_MOST_DEVICES = 64
_LARGEST = 1 << 56
_ADDRESS = 1 << 24  # any that is a multiple of every alignment


@dataclass(frozen=True, slots=True)
class AnswerForm:
    """What comes back for a command: how long it is, whether it can be one, and one that does no harm."""

    n_bytes: int
    harmless: bytes
    is_sound: Callable[[bytes, bytes], bool]
    """Of the request's body and the answer's. llama.cpp ends the process at some values that no sound worker sends."""


def _alignment_is_sound(_request: bytes, answer: bytes) -> bool:
    (alignment,) = _U64.unpack(answer)
    return bool(0 < alignment <= _ADDRESS and alignment & (alignment - 1) == 0)


def _buffer_is_sound(request: bytes, answer: bytes) -> bool:
    (wanted,), (pointer, size) = _U64.unpack(request[-8:]), _TWO_U64.unpack(answer)
    return bool(pointer == 0 or wanted <= size < _LARGEST)


def _memory_is_sound(_request: bytes, answer: bytes) -> bool:
    free, total = _TWO_U64.unpack(answer)
    return bool(free <= total < _LARGEST)


def _count_is_sound(_request: bytes, answer: bytes) -> bool:
    return 1 <= int(_U32.unpack(answer)[0]) <= _MOST_DEVICES


def _number_in(low: int, high: int) -> Callable[[bytes, bytes], bool]:
    return lambda _request, answer: low <= int.from_bytes(answer, "little") < high


ANSWERS = {
    ALLOC_BUFFER: AnswerForm(16, bytes(16), _buffer_is_sound),
    GET_ALIGNMENT: AnswerForm(8, _U64.pack(128), _alignment_is_sound),
    GET_MAX_SIZE: AnswerForm(8, _U64.pack(_LARGEST), _number_in(1, 1 << 64)),
    BUFFER_GET_BASE: AnswerForm(8, _U64.pack(_ADDRESS), _number_in(1, 1 << 63)),
    SET_TENSOR_HASH: AnswerForm(1, b"\1", _number_in(0, 2)),
    COPY_TENSOR: AnswerForm(1, b"\1", _number_in(0, 2)),
    GET_DEVICE_MEMORY: AnswerForm(16, bytes(16), _memory_is_sound),
    GET_ALLOC_SIZE: AnswerForm(8, bytes(8), _number_in(0, _LARGEST)),
    DEVICE_COUNT: AnswerForm(4, _U32.pack(1), _count_is_sound),
}
"""But for HELLO, which is answered by whoever it reaches, and GET_TENSOR, whose request ends with the length."""


def hello_answer() -> bytes:
    """What a worker of this version says."""
    return _HELLO.pack(MAJOR, MINOR, 0, _CAPABILITIES)


def tensor_length(request: bytes) -> int:
    """How many bytes a GET_TENSOR asks for."""
    return int(_U64.unpack(request[-8:])[0])


@dataclass(frozen=True, order=True, slots=True)
class Address:
    """Where a worker listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def parse_address(text: object, name: str = "workers") -> Address:
    """`HOST:PORT` in parts. Raises `OptionError` that begins with `name`."""
    expected = f"HOST:PORT with a port from 1 to 65535, such as 127.0.0.1:{DEFAULT_PORT}"
    checks.require(isinstance(text, str), name, expected, text)
    host, _, port = str(text).strip().rpartition(":")
    well_formed = bool(host) and host.isascii() and host.isprintable() and not set(host) & set(" :/,[]@")
    number = int(port) if port.isascii() and port.isdigit() and len(port) < 6 else 0
    checks.require(well_formed and 0 < number < 1 << 16, name, expected, text)
    return Address(host, number)


def addresses_of(value: object, name: str = "workers") -> tuple[str, ...]:
    """One text or several, each of one address or of several with commas between. Raises `OptionError`."""
    parts = [value] if isinstance(value, str) else value
    checks.require(isinstance(parts, list | tuple), name, "a list of HOST:PORT", value)
    assert isinstance(parts, list | tuple)
    texts = [each for part in parts for each in (part.split(",") if isinstance(part, str) else [part])]
    found = [str(parse_address(each, name)) for each in texts]
    if len(set(found)) < len(found):
        raise OptionError(f"{name} must be different addresses, not {checks.shown(value)}")
    return tuple(found)


class Wire:
    """A connection to a worker, greeted and of this version. Every failure is a `WorkerError` that names the worker."""

    def __init__(self, address: Address, timeout_s: float) -> None:
        """Raises `WorkerError`. `timeout_s` is how long the worker may be silent once it has greeted."""
        self._address = address
        self._timeout_s = CONNECT_TIMEOUT_S
        try:
            self._socket = socket.create_connection((address.host, address.port), self._timeout_s)
        except socket.gaierror as error:
            raise WorkerError(f"worker {address}: no machine of this name is known ({error.strerror})") from error
        except OSError as error:
            reason = "it does not answer" if isinstance(error, TimeoutError) else error.strerror or str(error)
            raise WorkerError(
                f"worker {address} cannot be reached ({reason}); start it there with `edge-wsd worker`"
            ) from error
        try:
            self._be_prompt()
            self._greet()
        except BaseException:
            self._socket.close()
            raise
        self._timeout_s = timeout_s
        self._socket.settimeout(timeout_s)

    def _be_prompt(self) -> None:
        """Send what is short at once. macOS refuses this where the other end has gone already."""
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            raise self._failure(error) from error

    def _greet(self) -> None:
        try:
            self.send(HEAD.pack(HELLO, len(_CAPABILITIES)) + _CAPABILITIES)
            length = self.length()
            answer = self.receive(length) if length == _HELLO.size else b""
        except WorkerError as error:
            raise WorkerError(
                f"{error}; a worker serves one process at a time, and speaks only with the same version of llama.cpp"
            ) from error
        if not answer:
            raise WorkerError(
                f"{self._address} is no worker of this version: expected llama.cpp's RPC {MAJOR}.{MINOR}; check "
                "the address, and what runs there"
            )
        major, minor, patch, _ = _HELLO.unpack(answer)
        if major != MAJOR or minor > MINOR:
            raise WorkerError(
                f"worker {self._address} speaks version {major}.{minor}.{patch} of llama.cpp's RPC protocol, expected "
                f"{MAJOR}.{MINOR}; install the same edge-wsd and llama-cpp-python on both machines"
            )

    def send(self, data: bytes | memoryview) -> None:
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise self._failure(error) from error

    def receive(self, n_bytes: int) -> bytes:
        """Exactly `n_bytes`."""
        parts = []
        while n_bytes:
            part = self.receive_some(n_bytes)
            parts.append(part)
            n_bytes -= len(part)
        return b"".join(parts)

    def receive_some(self, most: int) -> bytes:
        """What there is, at least one byte."""
        try:
            part = self._socket.recv(min(most, 1 << 20))
        except OSError as error:
            raise self._failure(error) from error
        if not part:
            raise WorkerError(f"worker {self._address} has closed the connection: it was ended, crashed or refused")
        return part

    def length(self) -> int:
        """The length that an answer begins with."""
        return int(LENGTH.unpack(self.receive(LENGTH.size))[0])

    def ask(self, command: int, body: bytes = b"") -> bytes:
        """A sound answer to `command`, which is one of `ANSWERS`."""
        self.send(HEAD.pack(command, len(body)) + body)
        expected = ANSWERS[command]
        if self.length() == expected.n_bytes and expected.is_sound(body, answer := self.receive(expected.n_bytes)):
            return answer
        raise self.nonsense()

    def nonsense(self) -> WorkerError:
        return WorkerError(f"worker {self._address} answers what no worker of this version does; it is not to be used")

    def _failure(self, error: OSError) -> WorkerError:
        if isinstance(error, TimeoutError):
            return WorkerError(
                f"worker {self._address} has said nothing for {self._timeout_s:g} s; it hangs, is busy with another "
                "process, or computes longer than --worker-timeout allows"
            )
        return WorkerError(f"the connection to worker {self._address} is lost ({error.strerror or error})")

    def close(self) -> None:
        self._socket.close()


def device_memory(address: Address, timeout_s: float) -> list[tuple[int, int]]:
    """The free and the whole memory of each device that a worker serves, in bytes. Raises `WorkerError`."""
    wire = Wire(address, timeout_s)
    try:
        (count,) = _U32.unpack(wire.ask(DEVICE_COUNT))
        found = [_TWO_U64.unpack(wire.ask(GET_DEVICE_MEMORY, _U32.pack(number))) for number in range(count)]
    finally:
        wire.close()
    return [(int(free), int(total)) for free, total in found]
