"""Running llama.cpp in a child process, where a damaged file or a failed assertion takes only the child with it.

>>> python_command("edge_wsd.models.probe_child", "the file names")   # raises OptionError in a frozen application
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

from edge_wsd.errors import OptionError

_ENTRY = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from importlib import import_module; import_module(sys.argv[2]).main(sys.argv[3:])"
)


def python_command(module: str, arguments: str) -> list[str]:
    """How to start `main` of `module` with this interpreter and its import path; its arguments are added behind.

    Raises `OptionError` in a frozen application, where `sys.executable` is the application and not Python.
    `arguments` says in that error what will follow the command.
    """
    if getattr(sys, "frozen", False):
        raise OptionError(
            "command must be given in a frozen application: the program and arguments that run "
            f"{module}.main with {arguments} that follow"
        )
    return [sys.executable, "-c", _ENTRY, json.dumps(sys.path), module]


def environment() -> dict[str, str]:
    """The environment of a child: an assertion of llama.cpp ends it instead of starting a debugger."""
    return {**os.environ, "GGML_NO_BACKTRACE": "1"}


def creation_flags() -> int:
    """Flags of `subprocess` that keep a console window from opening."""
    flags = 0
    if sys.platform == "win32":
        flags = subprocess.CREATE_NO_WINDOW
    return flags


def describe_ending(returncode: int) -> str:
    """How a child ended, for an error message: `SIGABRT`, `exit code 3`."""
    if returncode >= 0:
        return f"exit code {returncode:#x}" if returncode > 255 else f"exit code {returncode}"
    try:
        return signal.Signals(-returncode).name
    except ValueError:
        return f"signal {-returncode}"


def keep_crashes_quiet() -> None:
    """For the child itself: no core dump, no dialogue box."""
    if sys.platform == "win32":
        import ctypes

        no_boxes = 0x0001 | 0x0002 | 0x8000  # critical errors, protection faults, missing files
        ctypes.windll.kernel32.SetErrorMode(no_boxes)
    else:
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
