"""What `doctor` asks of llama.cpp, in a process of its own: drivers and kernels that end it leave the report whole.

Each step is told before it is taken, and each answer is a part of the report, as a line of JSON.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from edge_wsd.child_process import keep_crashes_quiet, write_report
from edge_wsd.errors import EdgeWsdError, KernelError

BINDING = "llama-cpp-python"
LAST_STEP = "the end"
_QUESTION = "How do I list files by size?"
_TOKENS = 16


def main(arguments: list[str]) -> None:
    """`arguments`: "library" or "pair". Prints one line for each step and each answer."""
    keep_crashes_quiet()
    for facts in examine_library() if arguments == ["library"] else examine_pair():
        write_report(**facts)
    write_report(begin=LAST_STEP)


def examine_library() -> Iterator[dict[str, Any]]:
    """Steps as `begin`, answers under their name in the report, and `problem` for what does not work."""
    yield {"begin": "loading llama.cpp"}
    try:
        from edge_wsd.llama import library
    except KernelError as error:
        yield {"problem": f"{BINDING} cannot be loaded: {error.__cause__}; install it again as below"}
        return
    yield {"begin": "starting llama.cpp"}
    yield {"versions": library.versions(), "backends": library.backends()}
    yield {"begin": "listing the devices"}
    yield {"devices": _devices(), "offload": library.supports_offload()}
    yield {"begin": "looking for the backend of workers"}
    from edge_wsd.llama import workers

    yield {"workers": workers.is_built_in()}
    if failure := library.backend_failure():
        yield {"problem": failure}


def _devices() -> list[dict[str, Any]]:
    """Devices as llama.cpp lists them; of the host counts what the system can really give."""
    from edge_wsd.llama.library import devices
    from edge_wsd.models.plan.host_memory import host_memory

    found = []
    for device in devices():
        free, total = device.free_bytes, device.total_bytes
        if device.type == "cpu":
            memory = host_memory(free, total)
            free, total = memory.available, memory.total
        found.append((device, free, total))
    return [
        {
            "index": device.index,
            "name": device.name,
            "description": device.description,
            "type": device.type,
            "free_bytes": free,
            "total_bytes": total,
        }
        for device, free, total in found
    ]


def examine_pair() -> Iterator[dict[str, Any]]:
    """Whether the demo pair writes."""
    yield {"begin": "the self-test with the demo pair"}
    try:
        from edge_wsd.pair import Pair

        with Pair.demo() as pair:
            reply = pair.generate(_QUESTION, max_tokens=_TOKENS)
    except (EdgeWsdError, ImportError) as error:
        yield {"problem": f"the self-test failed: {error}"}
        return
    facts = {
        "text": reply.text,
        "n_tokens": reply.stats.n_tokens,
        "ttft_s": reply.stats.ttft_s,
        "total_s": reply.stats.total_s,
    }
    yield {"self_test": facts}
