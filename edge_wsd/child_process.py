"""Running llama.cpp in a child process, where a damaged file or a failed assertion takes only the child with it.

A child imports this installation and nothing else, whatever lies in the current folder, in the folder of the caller's
script or in the user's environment.

>>> run(python_command("edge_wsd.models.probe.child") + ["model.gguf"], timeout_s=60).ending
'exit code 0'
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import site
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from edge_wsd.errors import OptionError

# `-I -S` leaves nothing on the path but the standard library, so that is where these imports come from.
_ENTRY = (
    "import json, site, sys; folders, sites = json.loads(sys.argv[1]); "
    "sys.path += [folder for folder in folders if folder not in sys.path]; "
    "any(map(site.addsitedir, sites)); "
    "from importlib import import_module; import_module(sys.argv[2]).main(sys.argv[3:])"
)
_PACKAGE, _BINDING = "edge_wsd", "llama_cpp"
_MEANINGS = {
    "SIGILL": "illegal instruction",
    "SIGSEGV": "invalid memory access",
    "SIGBUS": "invalid memory access",
    "SIGFPE": "invalid arithmetic",
    "SIGKILL": "killed, perhaps for want of memory",
}
_WINDOWS_MEANINGS = {
    0xC000001D: "illegal instruction",
    0xC0000005: "invalid memory access",
    0xC0000409: "aborted",
    0xC0000135: "a DLL is missing",
}
NO_MEMORY = re.compile(r"MemoryError|bad_alloc|(failed|unable|cannot|not enough space) .*\balloc", re.DOTALL)
"""In what Python or llama.cpp says where memory is refused."""

_ASSERTED = ("GGML_ASSERT", "terminate called")

_program: list[str] = []


def use_program(command: Sequence[str]) -> None:
    """Say how this application starts a child process: `command`, behind which the arguments of `main` are added.

    A frozen application must, before it loads a model, as `sys.executable` is the application there and not Python:

    >>> use_program([sys.executable, "edge-wsd-child"])  # first: children start children too
    >>> if sys.argv[1:2] == ["edge-wsd-child"]:
    ...     sys.exit(main(sys.argv[2:]))
    """
    _program[:] = command


def main(arguments: Sequence[str]) -> None:
    """Be a child process: run `main` of the module of this package that comes first, with the arguments behind it."""
    module, *rest = arguments
    if not module.startswith(f"{_PACKAGE}."):
        raise OptionError(f"{module} is not a module of {_PACKAGE}; expected the arguments of a child process")
    import_module(module).main(rest)


def python_command(module: str) -> list[str]:
    """How to start `main` of `module` with this interpreter and installation; its arguments are added behind.

    Raises `OptionError` in a frozen application that has not called `use_program`.
    """
    if _program:
        return [*_program, module]
    if getattr(sys, "frozen", False) or not sys.executable:
        raise OptionError(
            "a frozen application must say how a child process is started: "
            "call edge_wsd.child_process.use_program before a model is loaded"
        )
    flags = ["-I", "-S", "-X", f"utf8={sys.flags.utf8_mode}", *(["-B"] if sys.dont_write_bytecode else [])]
    return [sys.executable, *flags, "-c", _ENTRY, _places(), module]


def _places() -> str:
    """What a child needs to know to import what this process does. A child hands on what it was given."""
    if _ENTRY in sys.orig_argv:
        return sys.orig_argv[sys.orig_argv.index(_ENTRY) + 1]
    folders = import_path()
    return json.dumps([folders, [folder for folder in folders if folder in _site_folders()]])


def import_path() -> list[str]:
    """The entries of this process's import path that a child needs beside the standard library, in their order.

    They are folders that packages are installed in, and those that this package and llama.cpp's binding came from.
    The current folder, which Python likes to put first, is one of them only if this package came from there.
    """
    here = _current_folder()
    return [entry for entry in dict.fromkeys(sys.path) if os.path.isabs(entry) and _is_ours(entry, here)]


def _is_ours(entry: str, here: str | None) -> bool:
    real = os.path.realpath(entry)
    if real == here:
        return real in _homes(_PACKAGE) or entry in _site_folders()
    return real in _homes(_PACKAGE) or real in _homes(_BINDING) or _has_installed(real)


def _current_folder() -> str | None:
    try:
        return os.path.realpath(os.getcwd())
    except OSError:  # it was removed
        return None


def _homes(package: str) -> list[str]:
    """The folders that this process has imported `package` from; an editable installation has two."""
    places = getattr(sys.modules.get(package), "__path__", ())
    return [os.path.realpath(os.path.dirname(place)) for place in places]


def _has_installed(folder: str) -> bool:
    try:
        return any(name.endswith((".dist-info", ".egg-info")) for name in os.listdir(folder))
    except OSError:  # an archive, or nothing
        return False


def _site_folders() -> list[str]:
    """Where Python looks for `.pth` files, which make editable installations visible."""
    folders = site.getsitepackages()
    return [*folders, site.getusersitepackages()] if site.ENABLE_USER_SITE else folders


def environment() -> dict[str, str]:
    """The environment of a child: an assertion of llama.cpp ends it instead of starting a debugger."""
    return {**os.environ, "GGML_NO_BACKTRACE": "1"}


@dataclass(frozen=True, slots=True)
class Ended:
    """What a child left behind. `returncode` is None where it had to be ended because its time was over."""

    returncode: int | None
    stdout: bytes
    stderr: bytes

    @property
    def ending(self) -> str:
        return "its time was over" if self.returncode is None else describe_ending(self.returncode)

    def last_words(self) -> str:
        """Why it ended, as far as its log says so."""
        return last_words(self.stderr)

    def reports(self) -> list[dict[str, Any]]:
        """The lines of its output that are JSON objects: its own. What a library prints in between is passed over."""
        return [report for line in self.stdout.splitlines() if (report := read_report(line))]


def last_words(log: bytes) -> str:
    """The line of a child's log that says most about its end: an assertion that failed, else the last one."""
    lines = [line.strip() for line in log.decode(errors="replace").split("\n") if line.strip()]
    asserted = (line for line in reversed(lines) if any(sign in line for sign in _ASSERTED))
    return next(asserted, lines[-1] if lines else "it said nothing")


def read_report(line: bytes) -> dict[str, Any]:
    """One line of a child's output; empty if it is not JSON object."""
    try:
        report = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return report if isinstance(report, dict) else {}


def write_report(**facts: object) -> None:
    """For the child itself: a line of its output, as `read_report` takes it."""
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def start(command: Sequence[str], **pipes: Any) -> subprocess.Popen[bytes]:
    """A child in its `environment`; `pipes` as for `Popen`. Raises OSError if it does not start."""
    return subprocess.Popen(list(command), creationflags=creation_flags(), **{"env": environment(), **pipes})


def run(command: Sequence[str], *, timeout_s: float, variables: Mapping[str, str] | None = None) -> Ended:
    """Run a child to its end, or until its time is over, with `variables` in its environment.

    Raises OSError if it does not start.
    """
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with start(command, env={**environment(), **(variables or {})}, **pipes) as child:
        try:
            stdout, stderr = child.communicate(timeout=timeout_s)
        except BaseException as error:
            child.kill()
            stdout, stderr = child.communicate()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            return Ended(None, stdout, stderr)
        return Ended(child.returncode, stdout, stderr)


def end(child: subprocess.Popen[bytes]) -> None:
    """End a child that was started, whatever it is doing, and close its pipes."""
    child.kill()
    child.wait()
    for pipe in (child.stdin, child.stdout, child.stderr):
        if pipe is not None:
            with contextlib.suppress(OSError):  # what was not sent yet is not wanted any more
                pipe.close()


def creation_flags() -> int:
    """Flags of `subprocess` that keep a console window from opening."""
    flags = 0
    if sys.platform == "win32":
        flags = subprocess.CREATE_NO_WINDOW
    return flags


def describe_ending(returncode: int) -> str:
    """How a child ended, for an error message: `SIGILL, illegal instruction`, `exit code 3`."""
    if returncode >= 0:
        meaning = _WINDOWS_MEANINGS.get(returncode)
        code = f"exit code {returncode:#x}" if returncode > 255 else f"exit code {returncode}"
        return f"{code}, {meaning}" if meaning else code
    try:
        name = signal.Signals(-returncode).name
    except ValueError:
        return f"signal {-returncode}"
    return f"{name}, {_MEANINGS[name]}" if name in _MEANINGS else name


def keep_crashes_quiet() -> None:
    """For the child itself: no core dump, no dialogue box."""
    if sys.platform == "win32":
        import ctypes

        no_boxes = 0x0001 | 0x0002 | 0x8000  # critical errors, protection faults, missing files
        ctypes.windll.kernel32.SetErrorMode(no_boxes)
    else:
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def limit_memory(n_bytes: int) -> None:
    """For the child itself: what it allocates beyond `n_bytes` in all fails. Pages of mapped files do not count.

    Linux knows such a limit, macOS and Windows do not.
    """
    if sys.platform != "linux":
        return
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = n_bytes if hard == resource.RLIM_INFINITY else min(n_bytes, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
