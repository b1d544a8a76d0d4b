"""How much of the host's memory a program can still take; on most systems llama.cpp reports all of it as free."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edge_wsd.control_groups import ControlGroup, lines_of_file, own_groups

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")
_SELF = Path("/proc/self/cgroup")
_KIB = 1024


@dataclass(frozen=True, slots=True)
class HostMemory:
    """Bytes: what is available without swapping, all there is, and free swap space."""

    available: int
    total: int
    swap: int = 0


def host_memory(
    reported_free: int, reported_total: int, meminfo: Path = _MEMINFO, cgroup: Path = _CGROUP, self_: Path = _SELF
) -> HostMemory:
    """Memory of this machine, or of the container around this process if that allows less.

    `reported_free` and `reported_total` are llama.cpp's figures, used if the system does not say more (Windows reports
    what is free, macOS all there is).
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
    found = {}
    for line in lines_of_file(path):
        name, _, value = line.partition(":")
        number = value.split()
        if number and number[0].isdigit():
            found[name] = int(number[0]) * _KIB
    return found


def _container_limit(cgroup: Path, self_: Path) -> tuple[int, int] | None:
    """The bytes left and the total that the control groups of this process allow; None for no limit."""
    found = []
    for group in own_groups("memory", cgroup, self_):
        limit = group.number("memory.max", "memory.limit_in_bytes")
        used = group.number("memory.current", "memory.usage_in_bytes")
        if limit is not None and used is not None:
            found.append((max(limit - used + _droppable(group), 0), limit))
    return (min(left for left, _ in found), min(limit for _, limit in found)) if found else None


def _droppable(group: ControlGroup) -> int:
    """Bytes of cached files that the group has not used recently."""
    name = "inactive_file" if group.version == 2 else "total_inactive_file"
    words = (line.split() for line in group.lines("memory.stat", "memory.stat"))
    return sum(int(row[1]) for row in words if row[0] == name)
