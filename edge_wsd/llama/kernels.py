"""Whether llama.cpp's kernels hold on this processor: found out once, in a child process, and remembered.

A build for one processor may not run on another, and a compiler may spoil the code of an instruction set; both end
the process at the first token. So the kernels are run beforehand over tiny models of every common type of weights.
Where those fail that rearrange weights for the processor ("extra buffers", AMX among them), and plain ones hold, all
models are loaded without them, and a warning says once why and how to mend it.

>>> verdict().extra_buffers
True
"""

from __future__ import annotations

import json
import logging
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from hashlib import sha256

from edge_wsd import child_process
from edge_wsd.disk_cache import DiskCache, cache_file
from edge_wsd.errors import KernelError
from edge_wsd.llama.installation import installation_stamp
from edge_wsd.llama.processor import this_processor
from edge_wsd.llama.rebuild import rebuild_command
from edge_wsd.llama.settings import AUTO, ModelSettings
from edge_wsd.redaction import logger_without_secrets

_LOG = logger_without_secrets(__name__)
_MODULE = "edge_wsd.llama.tools.kernel_child"
_VERSION = "1"
"""Of the test: another one finds out anew."""
TIMEOUT_S = 60.0
TOLERANCE = 0.06
"""Relative error of the logits. Kernels that are right are at most 0.03 off: they round what flows in to 8 bits."""
# Threads of the child wait without keeping a core busy: what else runs on the machine must not make it slow.
_VARIABLES = {"OMP_WAIT_POLICY": "passive", "OPENBLAS_NUM_THREADS": "1"}
_LONGEST_REASON = 200
LAST_STEP = "the end"
_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class KernelVerdict:
    """Whether weights may be rearranged; if not, `problem` says what happened."""

    extra_buffers: bool
    problem: str = ""


@dataclass(frozen=True, slots=True)
class _Failure:
    step: str
    how: str
    buffers: Sequence[str] = ()

    def __str__(self) -> str:
        return f"{self.step}: {self.how}" if self.step else self.how


def uses_extra_buffers(settings: ModelSettings) -> bool:
    """Whether a model with these settings is loaded with extra buffers. Raises as `verdict` does if it is for us."""
    return verdict().extra_buffers if settings.extra_buffers == AUTO else settings.extra_buffers == "on"


def verdict() -> KernelVerdict:
    """The verdict for this process, remembered. One that is bad is told in a warning, by the first that may.

    Raises `KernelError` if nothing holds, `OptionError` as `child_process.python_command`.
    """
    with _lock:
        return _warned_verdict()


def require_sound() -> None:
    """Raises as `verdict` does, without a warning: for a program, before it loads llama.cpp and could end with it."""
    with _lock:
        _first_verdict()


@cache
def _first_verdict() -> KernelVerdict:
    return recall()


@cache
def _warned_verdict() -> KernelVerdict:
    found = _first_verdict()
    if not found.extra_buffers and _LOG.isEnabledFor(logging.WARNING) and _is_news(found):
        _LOG.warning("%s", advice(found))
    return found


def _is_news(found: KernelVerdict) -> bool:
    """Whether no process before this one has warned of it; from now on, one has. `doctor` tells it always."""
    told = DiskCache(
        cache_file("kernels_told.json"), "told", most=20, otherwise="it is told again", log_level=logging.DEBUG
    )
    if told.get(_stamp()) == found.problem:
        return False
    told.put(_stamp(), found.problem)
    return True


def advice(found: KernelVerdict) -> str:
    """What a bad verdict costs, and how to mend it, in one line."""
    return (
        f"{found.problem}; models run without them, which costs up to a third of the speed of prompts with Q4_0 "
        f"weights, less with others, more if AMX would work; to build llama.cpp for this processor: {rebuild_command()}"
    )


def recall(
    memory: DiskCache | None = None,
    command: Sequence[str] | None = None,
    *,
    timeout_s: float = TIMEOUT_S,
    again: bool = False,
) -> KernelVerdict:
    """What was found out before of this llama.cpp on this processor; else, or `again`, what `examine` says now."""
    memory, stamp = memory or _memory(), _stamp()
    known = None if again else _read(memory.get(stamp))
    if known is not None:
        return known
    found = examine(command, timeout_s=timeout_s)
    memory.put(stamp, json.dumps(asdict(found)))
    return found


def _memory() -> DiskCache:
    return DiskCache(cache_file("kernels.json"), "verdicts", most=20, otherwise="the kernels will be tested again")


def _stamp() -> str:
    """Of this llama.cpp on this processor."""
    parts = (_VERSION, installation_stamp(), this_processor().identity, *sorted(this_processor().flags))
    return sha256("\n".join(parts).encode(errors="replace")).hexdigest()


def _read(text: str | None) -> KernelVerdict | None:
    try:
        known = json.loads(text) if text else None
        return KernelVerdict(bool(known["extra_buffers"]), str(known["problem"])) if known else None
    except (ValueError, TypeError, KeyError, RecursionError):  # damaged
        return None


def examine(command: Sequence[str] | None = None, *, timeout_s: float = TIMEOUT_S) -> KernelVerdict:
    """Run the kernels in a child process, with extra buffers and, if that fails, without them.

    `command` starts `kernel_child.main`. Raises `KernelError` if neither holds.
    """
    if command is None:
        command = child_process.python_command(_MODULE)
    failure = _try(command, "on", timeout_s)
    if failure is None:
        return KernelVerdict(True)
    plain = _try(command, "off", timeout_s)
    if plain is None:
        kind = "AMX kernels" if "AMX" in failure.buffers else "kernels for rearranged weights"
        return KernelVerdict(False, f"llama.cpp's {kind} do not work on this processor ({failure})")
    raise KernelError(
        f"llama.cpp, as it is installed, does not work on this processor ({plain}); to build it for this processor: "
        f"{rebuild_command()}"
    )


def _try(command: Sequence[str], extra_buffers: str, timeout_s: float) -> _Failure | None:
    """What went wrong first, if anything did."""
    with tempfile.TemporaryDirectory(prefix="edge-wsd-") as folder:
        try:
            child = child_process.run([*command, extra_buffers, folder], timeout_s=timeout_s, variables=_VARIABLES)
        except OSError as error:
            return _Failure("", f"{command[0]} does not start: {error}")
    step, buffers = "", ()
    for report in child.reports():
        step, buffers = report.get("begin", step), report.get("buffers", buffers)
        off = report.get("error", 0.0)
        if not isinstance(off, float) or not off <= TOLERANCE:
            return _Failure(step, f"wrong numbers, {off:.0%} off" if isinstance(off, float) else "no numbers", buffers)
    if child.returncode == 0 and step == LAST_STEP:
        return None
    if child.returncode is None:
        return _Failure(step, f"no answer within {timeout_s:.0f} s", buffers)
    words = f": {child.last_words()[-_LONGEST_REASON:]}" if child.stderr.strip() else ""
    return _Failure(step, f"{child.ending}{words}", buffers)
