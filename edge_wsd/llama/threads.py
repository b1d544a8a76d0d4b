"""How many CPU threads a model gets by default: the physical cores, or one where there is nothing to share out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

# Threads meet after every operation of a pass. Below this size waiting for each other takes longer than the work, and
# on a busy machine very much longer.
_SINGLE_THREAD_BYTES = 32_000_000


def default_threads(model_bytes: int) -> int:
    """Threads for a model with tensors of `model_bytes`."""
    return 1 if model_bytes < _SINGLE_THREAD_BYTES else physical_cores()


def physical_cores() -> int:
    """Physical cores usable by this process, at least 1. Hyper-threads share the units that matter here."""
    if sys.platform == "darwin":
        # Only the performance cores: one efficiency core slows every barrier of a matrix product.
        for key in ("hw.perflevel0.physicalcpu", "hw.physicalcpu"):
            answer = subprocess.run(["sysctl", "-n", key], capture_output=True, text=True, check=False)
            if answer.returncode == 0 and answer.stdout.strip().isdigit():
                return max(1, int(answer.stdout))
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    usable = os.sched_getaffinity(0)
    siblings = (Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list") for cpu in usable)
    cores = {path.read_text() if path.is_file() else str(path) for path in siblings}
    return max(1, len(cores))
