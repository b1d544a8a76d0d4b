"""`edge-wsd worker`: lends this machine's devices to a pair that is loaded on another one with `--workers`."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress

import click

from edge_wsd.cli.ui.rows import tell
from edge_wsd.errors import OptionError, WorkerError
from edge_wsd.llama.rpc_protocol import DEFAULT_PORT, parse_address

_DEFAULT_ADDRESS = f"127.0.0.1:{DEFAULT_PORT}"
_TICK_S = 0.25


@click.command()
@click.option(
    "--listen",
    metavar="HOST:PORT",
    default=_DEFAULT_ADDRESS,
    show_default=True,
    help="The IPv4 address to listen on; 0.0.0.0 for all of this machine's, with --allow-network.",
)
@click.option(
    "--allow-network",
    is_flag=True,
    help="Listen on an address that other machines reach. Who reaches it can run what they like here.",
)
@click.option(
    "--device",
    "devices",
    metavar="NAME",
    multiple=True,
    help="Serve this device; may be given several times. `edge-wsd doctor` lists them.  [default: all GPUs, else CPU]",
)
@click.option("--threads", type=click.IntRange(1, 512), metavar="N", help="CPU threads.  [default: the physical cores]")
def command(*, listen: str, allow_network: bool, devices: tuple[str, ...], threads: int | None) -> None:
    """Lend this machine's devices to a pair that is loaded elsewhere with --workers, until Ctrl-C.

    One process at a time computes here. The protocol (llama.cpp's RPC backend) has no authentication and no encryption,
    so only this machine can connect unless --allow-network is given: use that in a network you trust, or reach the
    worker through an SSH tunnel. Both machines need the same versions of edge-wsd and llama-cpp-python, built with RPC;
    `edge-wsd doctor` tells how.

    \b
    edge-wsd worker --listen 10.0.0.7:50052 --allow-network    there
    edge-wsd run --workers 10.0.0.7:50052 "How do I ...?"      here
    """
    try:
        address = parse_address(listen, "listen")
    except OptionError as error:
        raise click.UsageError(f"--{error}") from error
    from edge_wsd.llama.kernels import require_sound

    require_sound()
    from edge_wsd.llama import workers
    from edge_wsd.llama.threads import usable_cores

    served = workers.served_devices(devices)
    serve = workers.server(address, served, threads=threads or usable_cores(), allow_network=allow_network)
    _hide_what_llama_cpp_prints()
    if allow_network:
        tell(f"warning: the protocol has no authentication: who reaches {address} can run what they like here")
    names = ", ".join(f"{device.name} ({device.description})" for device in served)
    tell(f"serving {names} on {address} until Ctrl-C")
    thread = threading.Thread(target=serve, name="edge-wsd serve", daemon=True)
    thread.start()
    while thread.is_alive():  # C code hears no Ctrl-C, so this thread does
        thread.join(_TICK_S)
    raise WorkerError(f"llama.cpp does not serve on {address}; the lines above say why")


def _hide_what_llama_cpp_prints() -> None:
    """It prints every connection on stdout, where nothing belongs here; errors it prints on stderr."""
    with suppress(OSError, ValueError):
        sys.stdout.flush()
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, sys.stdout.fileno())
        os.close(nothing)
