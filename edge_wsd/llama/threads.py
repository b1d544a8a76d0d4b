"""How many CPU threads a model gets by default: as many as can run at once; one where there is nothing to share out."""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path

from edge_wsd.control_groups import ControlGroup, own_groups
from edge_wsd.llama.processor import mac_fact

# Threads meet after every operation of a pass. Below this size waiting for each other takes longer than the work, and
# on a busy machine very much longer.
_SINGLE_THREAD_BYTES = 32_000_000


def default_threads(model_bytes: int) -> int:
    """Threads for a model with tensors of `model_bytes`."""
    return 1 if model_bytes < _SINGLE_THREAD_BYTES else usable_cores()


def usable_cores() -> int:
    """Physical cores that this process may keep busy, at least 1.

    A quota that is no whole number is rounded up. Two threads under a quota of 1.5 are stopped for a quarter of each
    period and are a quarter to a third faster than one all the same; under 1.1 they are about as fast (docs/speed.md).
    """
    quota = cpu_quota()
    cores = physical_cores()
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def physical_cores() -> int:
    """Physical cores that this process may run on, at least 1. Hyper-threads share the units that matter here."""
    if sys.platform == "darwin":
        # Only the performance cores: one efficiency core slows every barrier of a matrix product.
        for key in ("hw.perflevel0.physicalcpu", "hw.physicalcpu"):
            if (value := mac_fact(key)).isdecimal():
                return max(1, int(value))
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    usable = os.sched_getaffinity(0)
    siblings = (Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list") for cpu in usable)
    cores = {path.read_text() if path.is_file() else str(path) for path in siblings}
    return max(1, len(cores))


def cpu_quota(**where: Path) -> float | None:
    """Cores' worth of time that the control groups around this process allow; None for no limit.

    `where` are the places that `own_groups` reads.
    """
    shares = [share for group in own_groups("cpu", **where) if (share := _share(group)) is not None]
    return min(shares, default=None)


def _share(group: ControlGroup) -> float | None:
    """Version 2 has quota and period in one file, version 1 in two."""
    words = " ".join(group.lines("cpu.max", "cpu.cfs_quota_us")).split()
    if group.version == 1:
        words += " ".join(group.lines("", "cpu.cfs_period_us")).split()
    if len(words) != 2 or not all(word.isdigit() for word in words):  # "max" or -1: no limit
        return None
    quota, period = map(int, words)
    return quota / period if quota and period else None
