"""Loads a model once in a child process, so that a file which makes llama.cpp crash takes only the child with it.

What passed is remembered by path, size, time of change and inode: each file is probed once.

>>> probe_model("model.gguf")   # raises ModelFileError if llama.cpp cannot load it
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from edge_wsd import child_process
from edge_wsd.errors import ModelFileError
from edge_wsd.models.gguf_check import n_parts, part_paths
from edge_wsd.models.gguf_file import REMEDY, GgufHeader, read_header
from edge_wsd.models.probe_cache import ProbeCache

BASE_TIMEOUT_S = 60.0
TIMEOUT_S_PER_GB = 1.0
_PACKAGE = Path(__file__).resolve().parent.parent
_ERROR_CHARACTERS = 300


def python_command() -> list[str]:
    """How to start `probe_child` with this interpreter and its import path.

    Raises `OptionError` in a frozen application, where `sys.executable` is the application and not Python.
    """
    return child_process.python_command("edge_wsd.models.probe_child", "the file names")


def probe_model(
    path: str | Path,
    *,
    header: GgufHeader | None = None,
    command: Sequence[str] | None = None,
    cache: ProbeCache | None = None,
    timeout_s: float | None = None,
) -> None:
    """Makes sure that llama.cpp can load the model at `path`, which `check_gguf` should have passed before.

    `header` spares reading it again. `command` starts the child, to which the path is added; None is
    `python_command()`. A frozen application must give one (a hidden argument of its own that calls
    `probe_child.main`). Models inside this package are not probed.
    Raises `ModelFileError` with llama.cpp's last error if it refuses the file, crashes or takes too long.
    """
    path = Path(path).absolute()  # not resolved: the parts of a split model may be links with names that matter
    if path.resolve().is_relative_to(_PACKAGE):
        return
    cache = ProbeCache() if cache is None else cache
    try:
        files = part_paths(path, n_parts(read_header(path) if header is None else header))
        stamp, n_bytes = _stamp(files), sum(file.stat().st_size for file in files)
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read: {error.strerror or error}") from error
    if cache.holds(path, stamp):
        return
    limit_s = BASE_TIMEOUT_S + TIMEOUT_S_PER_GB * n_bytes / 1e9 if timeout_s is None else timeout_s
    _run(path, python_command() if command is None else list(command), limit_s)
    cache.add(path, stamp)


def _stamp(files: Sequence[Path]) -> str:
    """Changes when a file is replaced or written to, or when llama.cpp is another one."""
    parts = [version("llama-cpp-python")]
    for file in files:
        status = file.stat()
        parts.append(f"{status.st_size}:{status.st_mtime_ns}:{status.st_ino}")
    return " ".join(parts)


def _run(path: Path, command: list[str], limit_s: float) -> None:
    try:
        child = child_process.run([*command, str(path)], timeout_s=limit_s)
    except OSError as error:
        raise ModelFileError(f"{path}: could not be tried: {command[0]} does not start: {error}") from error
    if child.returncode is None:
        raise ModelFileError(f"{path}: llama.cpp did not load it within {limit_s:.0f} s; {REMEDY}")
    reports = [report for report in child.reports() if "begin" in report or "end" in report]
    log = _last_error(child.stderr)
    if not reports:
        raise ModelFileError(f"{path}: could not be tried in a process of its own: {log}")
    loads = reports[-1].get("loads")
    if loads is True and child.returncode == 0:
        return
    if loads is False:
        raise ModelFileError(f"{path}: llama.cpp cannot load it: {log}; {REMEDY}, or use a newer llama-cpp-python")
    raise ModelFileError(f"{path}: llama.cpp crashes on it ({child.ending}): {log}; {REMEDY}")


def _last_error(stderr: bytes) -> str:
    """The most telling line of the child's log: llama.cpp's reason, else its last words."""
    lines = [line.strip() for line in stderr.decode(errors="replace").splitlines() if line.strip()]
    reason = next((line for line in reversed(lines) if "error loading model: " in line), None)
    if reason is not None:
        reason = reason.partition("error loading model: ")[2]
    else:
        asserted = next((line for line in reversed(lines) if "GGML_ASSERT" in line or "terminate called" in line), None)
        reason = asserted or (lines[-1] if lines else "it said nothing")
    return reason[-_ERROR_CHARACTERS:]
