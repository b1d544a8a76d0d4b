"""Messages on a pipe: each is bytes behind their length in 8 bytes."""

from __future__ import annotations

from typing import IO

_LENGTH_BYTES = 8
MOST_BYTES = 1 << 31


def read_frame(pipe: IO[bytes]) -> bytes | None:
    """None at the end of the pipe, also in the middle of a frame, and where a length is none that anybody sends."""
    head = pipe.read(_LENGTH_BYTES)
    length = int.from_bytes(head, "big")
    if len(head) < _LENGTH_BYTES or length > MOST_BYTES:
        return None
    data = pipe.read(length)
    return data if len(data) == length else None


def write_frame(pipe: IO[bytes], data: bytes) -> None:
    pipe.write(len(data).to_bytes(_LENGTH_BYTES, "big"))
    pipe.write(data)
    pipe.flush()
