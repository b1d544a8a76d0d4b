"""How much memory of the host a program can still take: llama.cpp calls all of it free on most systems."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")
_SELF = Path("/proc/self/cgroup")
_KIB = 1024


@dataclass(frozen=True, slots=True)
class HostMemory:
    """Bytes: what can be had without writing anything out, what there is, and room for what is written out."""

    available: int
    total: int
    swap: int = 0


def host_memory(
    reported_free: int, reported_total: int, meminfo: Path = _MEMINFO, cgroup: Path = _CGROUP, self_: Path = _SELF
) -> HostMemory:
    """Memory of this machine, or of the container around this process if that allows less.

    `reported_free` and `reported_total` are what llama.cpp says, and what holds where the system does not tell more
    (Windows reports what is free, macOS all there is).
    """
    values = _meminfo(meminfo)
    total = values.get("MemTotal", reported_total)
    available = values.get("MemAvailable", reported_free)
    swap = values.get("SwapFree", 0)
    limit = _container_limit(cgroup, self_)
    if limit is not None and limit[1] < total:
        available, total = min(available, limit[0]), limit[1]
    return HostMemory(max(available, 0), total, swap)


def _meminfo(path: Path) -> dict[str, int]:
    try:
        lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:  # not a Linux
        return {}
    found = {}
    for line in lines:
        name, _, value = line.partition(":")
        number = value.split()
        if number and number[0].isdigit():
            found[name] = int(number[0]) * _KIB
    return found


def _container_limit(root: Path, self_: Path) -> tuple[int, int] | None:
    """Bytes left and bytes in all that the control groups around this process allow; None for no limit.

    Groups of version 2. Each lies in others, any of which may be the narrowest.
    """
    group = root
    for line in _lines(self_):
        if line.startswith("0::"):
            group = root / line[3:].lstrip("/")
    found = []
    for folder in (group, *group.parents):
        limit, used = _number(folder / "memory.max"), _number(folder / "memory.current")
        if limit is not None and used is not None:
            cache = [
                int(line.split()[1]) for line in _lines(folder / "memory.stat") if line.startswith("inactive_file ")
            ]
            found.append((max(limit - used + sum(cache), 0), limit))
        if folder == root:
            break
    return (min(left for left, _ in found), min(limit for _, limit in found)) if found else None


def _number(path: Path) -> int | None:
    text = "".join(_lines(path)).strip()
    return int(text) if text.isdigit() else None  # "max" is no limit


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return []
