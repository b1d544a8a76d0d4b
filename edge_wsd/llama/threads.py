"""How many CPU threads a model gets by default: the physical cores this process may use."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


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
