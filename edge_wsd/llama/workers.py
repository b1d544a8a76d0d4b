"""Layers on other machines, over llama.cpp's own RPC backend: serving this machine's devices, and using a worker's.

The protocol knows no authentication and no encryption, and who reaches a worker can make it run anything; a worker
serves one process at a time. llama.cpp has the backend when it was built with `-DGGML_RPC=on`, or when
`GGML_BACKEND_PATH` names it.
"""

from __future__ import annotations

import ctypes
import ipaddress
import os
import socket
import threading
from collections.abc import Callable, Iterable, Sequence

from edge_wsd.errors import OptionError, WorkerError
from edge_wsd.llama import library
from edge_wsd.llama.relay import Relay
from edge_wsd.llama.rpc_protocol import Address, device_memory, parse_address
from edge_wsd.llama.settings import ModelSettings

BACKEND = "RPC"
WORKER = "worker"
"""The type of a worker's devices in a plan."""

_lock = threading.Lock()
_relays: dict[Address, Relay] = {}


def _forget_relays() -> None:
    """A forked child has none of the threads that they run in."""
    global _lock  # noqa: PLW0603
    _lock = threading.Lock()
    _relays.clear()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_forget_relays)


def is_built_in() -> bool:
    """Whether the installed llama.cpp has the RPC backend."""
    return library.backend_function(BACKEND, "ggml_backend_rpc_add_server", None) is not None


def _function(name: str, result: type | None, *arguments: type) -> Callable[..., int | None]:
    function: Callable[..., int | None] | None = library.backend_function(BACKEND, name, result, *arguments)
    if function is None and (failure := library.backend_failure()):
        raise WorkerError(failure)
    if function is None:
        raise WorkerError(
            f"the installed llama.cpp was built without {BACKEND}, which workers need; `edge-wsd doctor` shows the "
            "command that builds it"
        )
    return function


# Using workers


def plan_devices(settings: ModelSettings) -> list[library.Device]:
    """The devices of the workers in `settings`, with the memory that is free there now. Raises `WorkerError`."""
    found = []
    for relay in connect(settings):
        for number, (free, total) in enumerate(relay.memory):
            name = str(relay.address) if len(relay.memory) == 1 else f"{relay.address}#{number}"
            found.append(library.Device(number, name, str(relay.address), WORKER, free, total))
    return found


def connect(settings: ModelSettings) -> list[Relay]:
    """A relay to each of the workers in `settings`, all of which answer. Raises `WorkerError`."""
    return [_relay(parse_address(each), settings.worker_timeout) for each in settings.workers]


def devices(relays: Iterable[Relay]) -> list[int]:
    """llama.cpp's pointers to the devices behind the relays, in their order. Raises `WorkerError`."""
    add_server = _function("ggml_backend_rpc_add_server", ctypes.c_void_p, ctypes.c_char_p)
    get = library.ggml_function("ggml_backend_reg_dev_get", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
    count = library.ggml_function("ggml_backend_reg_dev_count", ctypes.c_size_t, ctypes.c_void_p)
    found = []
    for relay in relays:
        registered = add_server(relay.endpoint.encode())
        relay.require_sound()
        if count(registered) != len(relay.memory):  # llama.cpp ends the process at one that it does not know
            relay.fail(WorkerError(f"worker {relay.address} has other devices than before"))
            relay.require_sound()
        found += [get(registered, number) for number in range(len(relay.memory))]
    return found


def local_gpus() -> list[int]:
    """llama.cpp's pointers to this machine's GPUs; those that share the host's memory only if there is no other."""
    seen = library.devices()
    for kind in ("gpu", "integrated gpu"):
        if found := [library.device_pointer(device.index) for device in seen if device.type == kind]:
            return found
    return []


def _relay(address: Address, timeout_s: float) -> Relay:
    """The one that is there, unless its worker has failed. What the worker has free is asked for while it can answer:
    with a model on it the worker listens only to that one's connection."""
    with _lock:
        relay = _relays.get(address)
        if relay is not None and not relay.has_failed and relay.n_clients:
            return relay
        memory = device_memory(address, timeout_s)
        if relay is None or relay.has_failed or len(relay.memory) != len(memory):
            relay = _relays[address] = Relay(address, timeout_s)
        relay.timeout_s, relay.memory = timeout_s, memory
        return relay


# Serving


def server(
    address: Address, served: Sequence[library.Device], *, threads: int, allow_network: bool = False
) -> Callable[[], None]:
    """What serves these devices of this machine: it returns only if llama.cpp gives up, and hears no Ctrl-C.

    llama.cpp prints every connection on the process's stdout. Raises `WorkerError` where the address cannot be had or
    the backend is missing, and `OptionError` for an address beyond this machine without `allow_network`.
    """
    strings, numbers = (ctypes.c_char_p, ctypes.c_char_p), (ctypes.c_size_t, ctypes.c_size_t)
    start = _function("ggml_backend_rpc_start_server", None, *strings, *numbers, ctypes.POINTER(ctypes.c_void_p))
    endpoint = f"{_own_address(address, allow_network=allow_network)}:{address.port}".encode()
    pointers = (ctypes.c_void_p * len(served))(*(library.device_pointer(device.index) for device in served))

    def serve() -> None:
        start(endpoint, None, threads, len(served), pointers)

    return serve


def served_devices(names: Sequence[str] = ()) -> list[library.Device]:
    """The devices of these names; by default GPUs if there are any, else the processor. Raises `OptionError`."""
    seen = library.devices()
    if not names:
        return [device for device in seen if "gpu" in device.type] or [each for each in seen if each.type == "cpu"]
    by_name = {device.name.lower(): device for device in seen}
    for name in names:
        if name.lower() not in by_name:
            known = ", ".join(device.name for device in seen)
            raise OptionError(f"device must be one of {known}, not {name!r}")
    return list({name.lower(): by_name[name.lower()] for name in names}.values())


def _own_address(address: Address, *, allow_network: bool) -> str:
    """The IPv4 address to listen on, free at this moment."""
    try:
        host = socket.getaddrinfo(address.host, address.port, socket.AF_INET, socket.SOCK_STREAM)[0][4][0]
    except (OSError, UnicodeError) as error:
        raise WorkerError(f"cannot listen on {address}: no IPv4 address of this machine has this name") from error
    if not allow_network and not ipaddress.ip_address(host).is_loopback:
        raise OptionError(
            f"listen must be an address of this machine alone, such as 127.0.0.1:{address.port}, not {address}: the "
            "protocol has no authentication, and who reaches it can run what they like here; --allow-network listens "
            "there all the same"
        )
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, address.port))
            probe.listen(1)
        except OSError as error:
            raise WorkerError(f"cannot listen on {address}: {error.strerror}; choose another with --listen") from error
    return str(host)
