"""The process that renders chat templates. Started by `renderer`; ends with the pipe it is asked through.

A request and its answer are frames of JSON. Request: source, values, now. Answer: text, or the
stage that failed with reason and line.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any

from edge_wsd.child_process import keep_crashes_quiet
from edge_wsd.frames import read_frame, write_frame

if TYPE_CHECKING:  # Jinja is for the child alone; the parent imports this file for the protocol
    import jinja2

    from edge_wsd.prompts.sandbox import ChatEnvironment

CPU_SECONDS = 2.0
MEMORY_BYTES = 256 << 20
MAX_CHARACTERS = 1 << 25
_MOST_TEMPLATES = 8


def main(_arguments: list[str]) -> None:
    """Answer requests from stdin on stdout until there are no more."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints is no answer
    keep_crashes_quiet()
    from edge_wsd.prompts.sandbox import ChatEnvironment

    templates = _Templates(ChatEnvironment())
    _limit_memory()
    while (request := read_frame(sys.stdin.buffer)) is not None:
        with _limited_time():
            answer = _answer(templates, request)
        write_frame(answers, answer)


class _Templates:
    """Compiled templates by source. A pair has two, and each turn asks for both."""

    def __init__(self, environment: ChatEnvironment) -> None:
        self._environment = environment
        self._compiled: dict[str, jinja2.Template] = {}

    def compiled(self, source: str) -> jinja2.Template:
        template = self._compiled.pop(source, None) or self._environment.compiled(source)
        self._compiled[source] = template
        while len(self._compiled) > _MOST_TEMPLATES:
            del self._compiled[next(iter(self._compiled))]
        return template


def _answer(templates: _Templates, request: bytes) -> bytes:
    try:
        return json.dumps(_rendered(templates, json.loads(request))).encode()
    except MemoryError:
        reason = f"it takes more than {MEMORY_BYTES >> 20} MB of memory"
        return json.dumps({"stage": "stopped", "reason": reason}).encode()


def _rendered(templates: _Templates, request: dict[str, Any]) -> dict[str, Any]:
    stage = "compile"
    now = datetime.fromisoformat(request["now"])
    try:
        template = templates.compiled(request["source"])
        stage = "render"
        text = template.render(request["values"], strftime_now=now.strftime)
    except MemoryError:
        raise
    except Exception as error:  # a template is a program: it can fail in every way that Python knows
        line = getattr(error, "lineno", None) if stage == "compile" else _template_line(error.__traceback__)
        return {"stage": stage, "reason": _reason(error), "line": line}
    if len(text) > MAX_CHARACTERS:
        return {"stage": "stopped", "reason": f"it makes more than {MAX_CHARACTERS:,} characters"}
    return {"text": text}


def _reason(error: Exception) -> str:
    return str(getattr(error, "message", None) or error)[:1000] or type(error).__name__


def _template_line(traceback: TracebackType | None) -> int | None:
    """Innermost line of the template that an error passed through; Jinja has put them into the traceback."""
    from edge_wsd.prompts.sandbox import FILE_NAME

    line = None
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == FILE_NAME:
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return line


@contextmanager
def _limited_time() -> Iterator[None]:
    """SIGPROF ends the process, wherever it is, once the block has used its processor time."""
    if not hasattr(signal, "setitimer"):  # Windows: the parent's watchdog alone
        yield
        return
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _limit_memory() -> None:
    """Let allocations beyond the bound fail. macOS and Windows know no such limit; there, the parent looks."""
    if sys.platform != "linux":
        return
    import resource

    with open("/proc/self/statm", encoding="ascii") as statm:
        mapped = int(statm.read().split()[0]) * resource.getpagesize()
    # What is mapped already holds libraries and locales; only what comes on top is the template's.
    _lower(resource.RLIMIT_AS, mapped + MEMORY_BYTES)
    _lower(resource.RLIMIT_DATA, MEMORY_BYTES)
    _lower(resource.RLIMIT_FSIZE, 0)  # nor has it any business with files


def _lower(which: int, limit: int) -> None:
    import resource

    _, hard = resource.getrlimit(which)
    resource.setrlimit(which, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


if __name__ == "__main__":
    main(sys.argv[1:])
