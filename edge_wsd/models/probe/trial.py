"""Tries models in a child process, so that a file which makes llama.cpp crash takes only the child with it.

Every file is loaded there without its weights, whatever its size. One that is small, or whose architecture
`hyperparameters` does not check tensor by tensor, is loaded as it will be and reads and writes some tokens. What passed
is remembered by path, size, time of change, inode and the settings that matter: each file is tried once.

>>> probe_model("model.gguf")   # raises ModelFileError if llama.cpp cannot load it
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path

from edge_wsd import child_process
from edge_wsd.errors import LogitsError, ModelFileError
from edge_wsd.llama import kernels
from edge_wsd.llama.settings import ModelSettings
from edge_wsd.models.gguf.check import n_parts, part_paths
from edge_wsd.models.gguf.header import REMEDY, GgufHeader, read_header
from edge_wsd.models.gguf.hyperparameters import is_checked_whole
from edge_wsd.models.gguf.shape import shape_of_file
from edge_wsd.models.plan.memory import model_memory
from edge_wsd.models.probe.cache import ProbeCache
from edge_wsd.units import gib

BASE_TIMEOUT_S = 60.0
TIMEOUT_S_PER_GB, DECODING_S_PER_GB = 1.0, 10.0
MEMORY_BYTES, MEMORY_BYTES_PER_THREAD, MEMORY_PER_HEADER_BYTE, MEMORY_PER_PLANNED_BYTE = 1 << 30, 16 << 20, 64, 2
"""What a child may allocate: far more than any sound model takes, and little enough that no file eats the machine."""
SMALL_BYTES = 256 << 20
"""A file up to this size is read and used at once, in well under a second."""
_DECIDING = (
    "kv_type",
    "flash_attention",
    "context_length",
    "batch",
    "exact",
    "gpu_layers",
    "main_gpu",
    "extra_buffers",
    "device_signal",
)
_PACKAGE = Path(__file__).resolve().parents[2]
_ERROR_CHARACTERS = 300
_REASON = "error loading model: "
_SOURCE_FOLDER = re.compile(r"\S*/(?=[\w-]+\.(?:c|cpp|cu|m|h):\d+: )")
"""Where llama.cpp was built, which an assertion tells as well."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model to be tried; `check_gguf` has passed it. Without `settings` it is only loaded, without its weights."""

    path: Path
    header: GgufHeader
    settings: ModelSettings | None = None


@dataclass(frozen=True, slots=True)
class _Trial:
    """What a child is asked to do, and under what name it is remembered that it went well."""

    path: Path
    settings: ModelSettings | None
    stamp: str
    limit_s: float
    memory_bytes: int

    @property
    def key(self) -> str:
        if self.settings is None:
            return str(self.path)
        return f"{self.path} {[getattr(self.settings, name) for name in _DECIDING]}"

    @property
    def request(self) -> str:
        settings = self.settings and asdict(self.settings)
        return json.dumps({"path": str(self.path), "settings": settings, "memory_bytes": self.memory_bytes})


def probe_command() -> list[str]:
    """How to start `child` with this interpreter and its import path.

    Raises `OptionError` as `child_process.python_command` does.
    """
    return child_process.python_command("edge_wsd.models.probe.child")


def probe_model(
    path: str | Path,
    *,
    header: GgufHeader | None = None,
    settings: ModelSettings | None = None,
    command: Sequence[str] | None = None,
    cache: ProbeCache | None = None,
    timeout_s: float | None = None,
) -> None:
    """Makes sure that llama.cpp can load the model at `path`, and with `settings` use it; see `probe_models`.

    `header` spares reading it again.
    """
    path = Path(path)
    header = read_header(path) if header is None else header
    probe_models([Candidate(path, header, settings)], command=command, cache=cache, timeout_s=timeout_s)


def probe_models(
    candidates: Sequence[Candidate],
    *,
    command: Sequence[str] | None = None,
    cache: ProbeCache | None = None,
    timeout_s: float | None = None,
    progress: Callable[[float], None] | None = None,
) -> None:
    """Tries models one after the other in one child, if any of them was not tried before.

    `command` starts the child, whose arguments are added to it; None is `probe_command()`. Models
    inside this package are not tried.
    `progress` is called with 0 when a child is about to start and with 1 when it has ended.
    Raises `ModelFileError` with llama.cpp's last error if it refuses a file, crashes or takes too long, and
    `LogitsError` if no probabilities come of the weights; `KernelError` where llama.cpp runs no model.
    """
    cache = ProbeCache() if cache is None else cache
    trials = [trial for trial in map(_trial, candidates) if trial and not cache.holds(trial.key, trial.stamp)]
    if not trials:
        return
    is_ours = command is None
    command = probe_command() if command is None else command
    if progress is not None:
        progress(0.0)
    limit_s = sum(trial.limit_s for trial in trials) if timeout_s is None else timeout_s
    try:
        _run(trials, command, limit_s)
    except ModelFileError:
        if is_ours:
            kernels.verdict()  # which raises where llama.cpp runs nothing: then the file is not to blame
        raise
    for trial in trials:
        cache.add(trial.key, trial.stamp)
    if progress is not None:
        progress(1.0)


def _trial(candidate: Candidate) -> _Trial | None:
    path = candidate.path.absolute()  # not resolved: the parts of a split model may be links with names that matter
    if path.resolve().is_relative_to(_PACKAGE):
        return None
    try:
        files = part_paths(path, n_parts(candidate.header))
        stamp, n_bytes = _stamp(files), sum(file.stat().st_size for file in files)
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read: {error.strerror or error}") from error
    headers = [candidate.header, *map(read_header, files[1:])]
    decodes = n_bytes <= SMALL_BYTES or not is_checked_whole(*headers)
    settings = _settled(candidate.settings) if decodes and candidate.settings else None
    per_gb = TIMEOUT_S_PER_GB + (DECODING_S_PER_GB if settings else 0)
    memory_bytes = _memory_bytes(path, headers, settings)
    return _Trial(path, settings, stamp, BASE_TIMEOUT_S + per_gb * n_bytes / 1e9, memory_bytes)


def _memory_bytes(path: Path, headers: Sequence[GgufHeader], settings: ModelSettings | None) -> int:
    """The most that a child may allocate for a model: some for the process and its vocabulary, and what is planned."""
    n_bytes = MEMORY_BYTES + MEMORY_BYTES_PER_THREAD * (os.cpu_count() or 1)
    n_bytes += MEMORY_PER_HEADER_BYTE * sum(header.data_offset for header in headers)
    if settings is not None:
        n_bytes += MEMORY_PER_PLANNED_BYTE * model_memory(shape_of_file(path, headers[0]), settings).all.total
    return n_bytes


def _settled(settings: ModelSettings) -> ModelSettings:
    """With nothing left that the child would have to find out. A file is tried here alone, and not on workers."""
    if settings.workers:
        settings = replace(settings, workers=(), gpu_layers=0, main_gpu=None)
    return replace(settings, extra_buffers="on" if kernels.uses_extra_buffers(settings) else "off")


def _stamp(files: Sequence[Path]) -> str:
    """Changes when a file is replaced or written to, or when llama.cpp is another one."""
    parts = [version("llama-cpp-python")]
    for file in files:
        status = file.stat()
        parts.append(f"{status.st_size}:{status.st_mtime_ns}:{status.st_ino}")
    return " ".join(parts)


def _run(trials: Sequence[_Trial], command: Sequence[str], limit_s: float) -> None:
    first = trials[0].path
    try:
        child = child_process.run([*command, *(trial.request for trial in trials)], timeout_s=limit_s)
    except OSError as error:
        raise ModelFileError(f"{first}: could not be tried: {command[0]} does not start: {error}") from error
    begun = [str(report["begin"]) for report in child.reports() if "begin" in report]
    ended = [report for report in child.reports() if "end" in report]  # one file may be both models of a pair
    path = begun[-1] if begun else str(first)
    log = _last_error(child.stderr)
    if child.returncode is None:
        raise ModelFileError(f"{path}: llama.cpp did not load it within {limit_s:.0f} s; {REMEDY}")
    if not begun:
        raise ModelFileError(f"{path}: could not be tried in a process of its own: {log}")
    for report in ended:
        name = report["end"]
        if report.get("loads") is False:
            raise ModelFileError(f"{name}: llama.cpp cannot load it: {log}; {REMEDY}, or use a newer llama-cpp-python")
        if report.get("computes") is False:
            raise LogitsError(str(report.get("reason")))
    if child.returncode != 0 and child_process.NO_MEMORY.search(log):
        most = gib(max(trial.memory_bytes for trial in trials))
        raise ModelFileError(
            f"{path}: llama.cpp wants more memory for it than the {most} that such a model may take ({log}); {REMEDY}"
        )
    if child.returncode != 0 or len(ended) < len(trials):
        raise ModelFileError(f"{path}: llama.cpp crashes on it ({child.ending}): {log}; {REMEDY}")


def _last_error(stderr: bytes) -> str:
    """The most telling line of the child's log: llama.cpp's reason, else its last words."""
    lines = reversed(stderr.decode(errors="replace").splitlines())
    reason = next((line.partition(_REASON)[2].strip() for line in lines if _REASON in line), None)
    return _SOURCE_FOLDER.sub("", reason or child_process.last_words(stderr))[-_ERROR_CHARACTERS:]
