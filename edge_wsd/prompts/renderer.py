"""Renders chat templates in a child process that stays warm, with bounds on its processor time and memory.

A template is a program of the model's author. Inside one call of C code no budget of ours is looked at and no Ctrl-C
is heard, so the bounds are those of the operating system, on a process that may be lost.

>>> shared_renderer().render("{{ messages[0].content }}", {"messages": [{"role": "user", "content": "Hi"}]}, now)
'Hi'
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from edge_wsd import child_process
from edge_wsd.frames import read_frame, write_frame
from edge_wsd.prompts.process_memory import memory_of
from edge_wsd.prompts.renderer_child import CPU_SECONDS, MEMORY_BYTES

_MODULE = "edge_wsd.prompts.renderer_child"
_WATCHDOG_SECONDS = 30.0
"""For a system without a clock for processor time, and for a child that hangs. Starting the child is part of it."""
_MEMORY_POLL_SECONDS = 0.01
_END_SECONDS = 1.0
_ITS_OWN_CLOCK, _THE_WATCHDOG = (getattr(signal, name, None) for name in ("SIGPROF", "SIGKILL"))
_LONGEST_REASON = 200

Stage = Literal["compile", "render", "stopped"]


class RenderingFailed(Exception):
    """`stage` says where: the source, a rendering, or the bounds (then the child is gone). `line` is the template's."""

    def __init__(self, stage: Stage, reason: str, line: int | None = None) -> None:
        super().__init__(reason)
        self.stage, self.reason, self.line = stage, reason, line


class Renderer:
    """Owner of the child process, which starts with the first rendering and again after it was lost."""

    def __init__(self, command: Sequence[str] | None = None) -> None:
        """`command` starts `renderer_child.main`; None is this interpreter."""
        self._command = command
        self._child: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start the child, which takes a tenth of a second in the background. Raises OSError, `OptionError`."""
        with self._lock:
            self._running()

    def render(self, source: str, values: Mapping[str, Any], now: datetime) -> str:
        """The text that `source` makes of `values`; `strftime_now` in it formats `now`.

        Raises `RenderingFailed`; OSError or `OptionError` if no child can be started.
        """
        request = {"source": source, "values": values, "now": now.isoformat()}
        with self._lock:
            child = self._running()
            try:
                answer = _exchange(child, request)
            except BaseException:  # what is in the pipes now belongs to nobody, also after Ctrl-C
                self._drop()
                raise
            if answer is None or answer.get("stage") == "stopped":
                reason = _why_it_ended(child) if answer is None else str(answer["reason"])
                self._drop()
                raise RenderingFailed("stopped", reason)
        if "text" in answer:
            return str(answer["text"])
        reason = " ".join(str(answer["reason"]).split())[:_LONGEST_REASON]
        raise RenderingFailed(answer["stage"], reason, answer["line"])

    def close(self) -> None:
        """End the child. The next rendering starts another one."""
        with self._lock:
            self._drop()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._child is not None and self._child.poll() is not None:
            self._drop()  # ended by somebody else
        if self._child is None:
            self._child = child_process.start(
                self._command or child_process.python_command(_MODULE),
                **dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE),
                start_new_session=True,  # Ctrl-C in the terminal is for us
            )
        return self._child

    def _drop(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child_process.end(child)


def _exchange(child: subprocess.Popen[bytes], request: Mapping[str, Any]) -> dict[str, Any] | None:
    """None if the child ended without an answer."""
    assert child.stdin is not None and child.stdout is not None
    answered = threading.Event()
    watchdog = threading.Thread(target=_watch, args=(child, answered), name="edge-wsd watchdog", daemon=True)
    watchdog.start()
    try:
        write_frame(child.stdin, json.dumps(request).encode())
        answer = read_frame(child.stdout)
    except (BrokenPipeError, ConnectionResetError):
        return None
    finally:
        answered.set()
    return None if answer is None else dict(json.loads(answer))


def _watch(child: subprocess.Popen[bytes], answered: threading.Event) -> None:
    """Ends a child that takes too long or, where it cannot bound that itself, too much memory."""
    end, before = time.monotonic() + _WATCHDOG_SECONDS, memory_of(child)
    while not answered.wait(_WATCHDOG_SECONDS if before is None else _MEMORY_POLL_SECONDS):
        taken = 0 if before is None else (memory_of(child) or before) - before
        if taken > MEMORY_BYTES or time.monotonic() >= end:
            child.kill()
            return


def _why_it_ended(child: subprocess.Popen[bytes]) -> str:
    try:
        code = child.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        return "the process that renders it answers no more"
    if -code == _ITS_OWN_CLOCK:
        return f"it takes more than {CPU_SECONDS:g} s"
    if -code == _THE_WATCHDOG:
        return f"it takes more than {CPU_SECONDS:g} s or {MEMORY_BYTES >> 20} MB of memory"
    ending = child_process.describe_ending(code)
    log = child.stderr.read() if child.stderr else b""
    said = f": {child_process.last_words(log)[:_LONGEST_REASON]}" if log.strip() else ""
    return f"the process that renders it ended ({ending}){said}"


_shared: tuple[int, Renderer] | None = None
_shared_lock = threading.Lock()


def shared_renderer() -> Renderer:
    """The one of this process. A forked process gets its own, as two cannot share the pipes."""
    global _shared  # noqa: PLW0603 - one child for all templates
    with _shared_lock:
        if _shared is None or _shared[0] != os.getpid():
            _shared = os.getpid(), Renderer()
            atexit.register(_shared[1].close)
        return _shared[1]
