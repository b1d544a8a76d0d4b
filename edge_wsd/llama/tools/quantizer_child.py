"""Calls `llama_model_quantize` in a process of its own. Started by `quantizer`, which sends what is asked for.

One line of JSON and the numbers of the importance matrix come in on stdin. First only the plan is made; the line
"write" on stdin makes the file. llama.cpp's log and the outcome go to stdout, one JSON object a line. When stdin
ends, the caller is gone: the unfinished file is removed and the process ends.
"""

from __future__ import annotations

import ctypes
import json
import os
import queue
import signal
import sys
import threading
from typing import Any, BinaryIO, NoReturn

import llama_cpp.llama_cpp as llama

from edge_wsd.child_process import keep_crashes_quiet, write_report

_CONTINUED_LEVEL = 5
# Rows worked on at once: enough to keep many threads busy, little beside any model.
_BUFFER_BYTES = 128 << 20
_CALLER_GONE = 3


class _Log:
    """Joins llama.cpp's fragments into lines and reports each."""

    def __init__(self) -> None:
        self._fragment, self._level = "", 0

    def write(self, level: int, text: bytes | None, _data: object) -> None:
        if level != _CONTINUED_LEVEL:
            self._level = level
        *lines, self._fragment = (self._fragment + (text or b"").decode(errors="replace")).split("\n")
        for line in lines:
            if line.strip():
                write_report(line=line.rstrip(), level=self._level)


class Settings:
    """The parameters of one call, with everything they point to."""

    def __init__(self, request: dict[str, Any], weights: list[bytes]) -> None:
        self.params = params = llama.llama_model_quantize_default_params()
        params.nthread = request["threads"]
        params.ftype = request["file_type"]
        params.allow_requantize = request["requantize"]
        params.max_buf_size = _BUFFER_BYTES
        if request["overrides"]:
            self._overrides = _overrides(request["overrides"])
            params.tt_overrides = self._overrides
        if request["metadata"]:
            self._metadata = _metadata(request["metadata"])
            params.kv_overrides = self._metadata
        if request["weights"]:
            self._numbers = [(ctypes.c_float * (len(raw) // 4)).from_buffer_copy(raw) for raw in weights]
            self._imatrix = _imatrix([name for name, _ in request["weights"]], self._numbers)
            params.imatrix = self._imatrix

    def run(self, source: str, target: str, *, dry: bool) -> bool:
        """Whether llama.cpp did it."""
        self.params.dry_run = dry
        return bool(
            llama.llama_model_quantize(os.fsencode(source), os.fsencode(target), ctypes.byref(self.params)) == 0
        )


def _overrides(pairs: list[tuple[str, int]]) -> Any:
    """Types by pattern, ended by an entry without a pattern."""
    array = (llama.llama_model_tensor_override * (len(pairs) + 1))()
    for entry, (pattern, type_) in zip(array, pairs, strict=False):
        entry.pattern, entry.type = pattern.encode(), type_
    return array


def _metadata(values: dict[str, int | str]) -> Any:
    """Metadata to write, ended by an entry without a key. Strings are cut to what an entry can hold."""
    array = (llama.llama_model_kv_override * (len(values) + 1))()
    for entry, (key, value) in zip(array, values.items(), strict=False):
        entry.key = key.encode()
        if isinstance(value, int):
            entry.tag, entry.value.val_i64 = llama.LLAMA_KV_OVERRIDE_TYPE_INT, value
        else:
            entry.tag = llama.LLAMA_KV_OVERRIDE_TYPE_STR
            entry.value.val_str = value.encode()[:127].decode(errors="ignore").encode()
    return array


def _imatrix(names: list[str], numbers: list[Any]) -> Any:
    """Weights by tensor name, ended by an entry without a name."""
    array = (llama.llama_model_imatrix_data * (len(names) + 1))()
    for entry, name, values in zip(array, names, numbers, strict=False):
        entry.name, entry.size = name.encode(), len(values)
        entry.data = ctypes.cast(values, ctypes.POINTER(ctypes.c_float))
    return array


def _read_exactly(stream: BinaryIO, n_bytes: int) -> bytes:
    data = stream.read(n_bytes)
    if len(data) != n_bytes:
        sys.exit(_CALLER_GONE)
    return data


def _listen(stream: BinaryIO, orders: queue.SimpleQueue[str], target: str, complete: threading.Event) -> NoReturn:
    """Hands over each line; ends the process with the stream, however busy llama.cpp is."""
    try:
        for line in stream:
            orders.put(line.decode().strip())
        if not complete.is_set() and os.path.exists(target):
            os.unlink(target)  # Windows refuses while llama.cpp has it open
    finally:
        os._exit(_CALLER_GONE)


def main(_arguments: list[str]) -> None:
    """Serves one request."""
    keep_crashes_quiet()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the caller decides what ends
    log = llama.llama_log_callback(_Log().write)
    llama.llama_log_set(log, ctypes.c_void_p(0))
    llama.llama_backend_init()
    stream = sys.stdin.buffer
    request = json.loads(stream.readline() or sys.exit(_CALLER_GONE))
    weights = [_read_exactly(stream, 4 * count) for _, count in request["weights"]]
    settings, source, target = Settings(request, weights), request["source"], request["target"]
    orders: queue.SimpleQueue[str] = queue.SimpleQueue()
    complete = threading.Event()
    threading.Thread(target=_listen, args=(stream, orders, target, complete), daemon=True).start()
    write_report(done="plan", ok=settings.run(source, target, dry=True))
    orders.get()
    ok = settings.run(source, target, dry=False)
    if ok:
        complete.set()
    write_report(done="write", ok=ok)
    orders.get()  # until the caller ends the process
