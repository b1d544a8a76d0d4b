"""Start-up of llama.cpp, its log, and what it was built with.

llama.cpp reports why a call failed only through its log, so the last error lines are kept for exception texts.
"""

from __future__ import annotations

import ctypes
import logging
import os
import threading
import weakref
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Any

from edge_wsd.llama.binding import llama_cpp
from edge_wsd.redaction import logger_without_secrets

logger = logger_without_secrets("edge_wsd.llama")
logging.getLogger("edge_wsd").addHandler(logging.NullHandler())  # silent until the application asks for logs

# One decode at a time in a process: two contexts on one device gain nothing from running at once, and
# concurrent graphs have crashed other bindings. Reentrant, because a decode may happen inside a load.
# Contexts on different devices may have locks of their own (`Locked`), which are taken behind this one, never before.
LOCK = threading.RLock()


class Locked:
    """Something that llama.cpp computes in, by one thread at a time: the one that holds `lock`."""

    def __init__(self) -> None:
        self.lock = LOCK
        _locked.add(self)

    def lock_alone(self) -> None:
        """From now on it does not wait for what else is computed in this process. Not while anybody uses it."""
        self.lock = threading.RLock()


_locked: weakref.WeakSet[Locked] = weakref.WeakSet()


def _renew_locks() -> None:
    """In a forked child nobody would ever give one back, if another thread of the parent held it."""
    global LOCK  # noqa: PLW0603
    LOCK = threading.RLock()
    for one in _locked:
        one.lock = LOCK


def holds_lock() -> bool:
    """Whether this thread is in the middle of using llama.cpp: of a signal handler, then, that has interrupted it."""
    return any(lock._is_owned() for lock in (LOCK, *(one.lock for one in list(_locked))))  # type: ignore[attr-defined]


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_renew_locks)

BACKEND_VARIABLE = "GGML_BACKEND_PATH"
"""llama.cpp's own variable: a backend that was built apart from the library, loaded beside those compiled in."""

_LEVELS = {1: logging.DEBUG, 2: logging.INFO, 3: logging.WARNING, 4: logging.ERROR}
_CONTINUATION = 5


class _LogSink(threading.local):
    """Joins llama.cpp's fragments into lines, hands them to `logging` and remembers the last errors of each thread."""

    def __init__(self) -> None:
        self._level = logging.INFO
        self._fragment = ""
        self.errors: deque[str] = deque(maxlen=8)

    def write(self, level: int, text: bytes | None, _user_data: int | None) -> None:
        if level != _CONTINUATION:
            self._level = _LEVELS.get(level, logging.INFO)
        self._fragment += (text or b"").decode("utf-8", errors="replace")
        *lines, self._fragment = self._fragment.split("\n")
        for line in lines:
            if line := line.rstrip():
                logger.log(self._level, "%s", line)
                if self._level >= logging.ERROR:
                    self.errors.append(line)


_sink = _LogSink()
# The callback must outlive every call into llama.cpp, so it lives as long as the module.
_callback = llama_cpp.llama_log_callback(_sink.write)


def install_log() -> None:
    """Send llama.cpp's log to `logging.getLogger("edge_wsd.llama")`. Importing llama_cpp installs another sink."""
    llama_cpp.llama_log_set(_callback, ctypes.c_void_p(0))


install_log()


@cache
def start() -> None:
    """Start llama.cpp's backends, once. This runs code that was compiled for one kind of processor: where a model is
    to be loaded, ask first whether it holds here (`edge_wsd.llama.kernels`).
    """
    llama_cpp.llama_backend_init()
    backend_failure()


@cache
def backend_failure() -> str:
    """Loads the backend that `BACKEND_VARIABLE` names, once; why that failed, or nothing."""
    if not (path := os.environ.get(BACKEND_VARIABLE)):
        return ""
    load = ggml_function("ggml_backend_load", ctypes.c_void_p, ctypes.c_char_p)
    with LOCK, error_lines() as lines:
        if load(os.fsencode(path)):
            return ""
        reason = because(lines) or ": it is no library, or one of another llama.cpp"
        return f"{BACKEND_VARIABLE}: llama.cpp cannot load the backend {path}{reason}"


@contextmanager
def error_lines() -> Iterator[deque[str]]:
    """The errors that llama.cpp logs inside the block in this thread, which holds the lock of what it uses."""
    lines = _sink.errors
    lines.clear()
    yield lines


def because(lines: deque[str]) -> str:
    """The cause for the end of an error message; empty if llama.cpp said nothing. Its first line is the most exact."""
    return f": {lines[0].split(': ', 1)[-1]}" if lines else ""


def address_of(name: str) -> int:
    """Where the function of llama.cpp with this name lies, for C++ code that calls it."""
    address = ctypes.cast(getattr(_ggml, name), ctypes.c_void_p).value
    assert address is not None
    return address


@dataclass(frozen=True, slots=True)
class Device:
    """One device llama.cpp can compute on. Sizes in bytes."""

    index: int
    name: str
    description: str
    type: str
    free_bytes: int
    total_bytes: int


_ggml = ctypes.CDLL(llama_cpp.llama_cpp._lib._name)
_DEVICE_TYPES = ("cpu", "gpu", "integrated gpu", "accelerator")


def ggml_function(name: str, result: type | None, *arguments: type) -> Any:
    """A function of ggml that the binding has no name for. Raises AttributeError if the library exports none such."""
    function = getattr(_ggml, name)
    function.restype, function.argtypes = result, list(arguments)
    return function


def devices() -> list[Device]:
    """The devices that the installed llama.cpp sees, in its own order."""
    start()
    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    count = ggml_function("ggml_backend_dev_count", size)
    get = ggml_function("ggml_backend_dev_get", pointer, size)
    name = ggml_function("ggml_backend_dev_name", ctypes.c_char_p, pointer)
    description = ggml_function("ggml_backend_dev_description", ctypes.c_char_p, pointer)
    kind = ggml_function("ggml_backend_dev_type", ctypes.c_int, pointer)
    memory = ggml_function("ggml_backend_dev_memory", None, pointer, ctypes.POINTER(size), ctypes.POINTER(size))
    found = []
    for index in range(count()):
        device, free, total = get(index), size(), size()
        memory(device, ctypes.byref(free), ctypes.byref(total))
        code = kind(device)
        found.append(
            Device(
                index,
                name(device).decode(errors="replace"),
                description(device).decode(errors="replace"),
                _DEVICE_TYPES[code] if code < len(_DEVICE_TYPES) else f"type {code}",
                free.value,
                total.value,
            )
        )
    return found


def device_pointer(index: int) -> int:
    """llama.cpp's pointer to the device of this index."""
    return int(ggml_function("ggml_backend_dev_get", ctypes.c_void_p, ctypes.c_size_t)(index))


def backend_function(backend: str, name: str, result: type | None, *arguments: type) -> Any:
    """A function that only this backend has; None where llama.cpp was built without it."""
    start()
    registered = ggml_function("ggml_backend_reg_by_name", ctypes.c_void_p, ctypes.c_char_p)(backend.encode())
    find = ggml_function("ggml_backend_reg_get_proc_address", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)
    address = find(registered, name.encode()) if registered else None
    return ctypes.CFUNCTYPE(result, *arguments)(address) if address else None


def backends() -> list[str]:
    """Names of the backends compiled in, such as CPU, CUDA, MTL, Vulkan."""
    start()
    count = ggml_function("ggml_backend_reg_count", ctypes.c_size_t)
    get = ggml_function("ggml_backend_reg_get", ctypes.c_void_p, ctypes.c_size_t)
    name = ggml_function("ggml_backend_reg_name", ctypes.c_char_p, ctypes.c_void_p)
    return [name(get(index)).decode(errors="replace") for index in range(count())]


def has_gpu() -> bool:
    """Whether this machine has a GPU that a backend can use; llama.cpp need not have been started."""
    find = ggml_function("ggml_backend_dev_by_type", ctypes.c_void_p, ctypes.c_int)
    return any(find(code) for code, kind in enumerate(_DEVICE_TYPES) if "gpu" in kind)


def supports_offload() -> bool:
    """Whether layers can really be put on a GPU: a backend for one is compiled in and sees a device."""
    start()
    return bool(llama_cpp.llama_supports_gpu_offload()) and any("gpu" in device.type for device in devices())


def versions() -> dict[str, str]:
    """Versions of the binding and of the llama.cpp inside it, and the instruction sets it was built for."""
    start()
    return {
        "llama-cpp-python": version("llama-cpp-python"),
        "llama.cpp": ggml_function("llama_version", ctypes.c_char_p)().decode(errors="replace"),
        "system": llama_cpp.llama_print_system_info().decode(errors="replace").strip(),
    }
