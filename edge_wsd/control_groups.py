"""The Linux control groups around this process: containers and services limit memory and processor time by them.

>>> [group.number("memory.max", "memory.limit_in_bytes") for group in own_groups("memory")]
[2147483648, None]
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_MOUNT = Path("/sys/fs/cgroup")
_SELF = Path("/proc/self/cgroup")


@dataclass(frozen=True, slots=True)
class ControlGroup:
    """A folder of one group. Its files have other names in version 1 than in version 2."""

    folder: Path
    version: int

    def lines(self, of_v2: str, of_v1: str) -> list[str]:
        """The lines of a file by its names in both versions; none where it does not exist."""
        return lines_of_file(self.folder / (of_v2 if self.version == 2 else of_v1))

    def number(self, of_v2: str, of_v1: str) -> int | None:
        """The number in a file; None where there is none, such as `max` or `-1` for no limit."""
        text = "".join(self.lines(of_v2, of_v1)).strip()
        return int(text) if text.isdigit() else None


def own_groups(controller: str, mount: Path = _MOUNT, self_: Path = _SELF) -> Iterator[ControlGroup]:
    """The group of this process for `controller`, and then each in which it lies: any of them may be the narrowest.

    In a container the named path often does not exist, and the group is the root of what is mounted.
    """
    paths = dict(_hierarchies(self_))
    name = next((name for name in paths if controller in name.split(",")), "")
    if name not in paths:
        return
    if name:
        version, root = 1, next((mount / each for each in (name, controller) if (mount / each).is_dir()), mount / name)
    else:
        unified = mount / "unified"  # where version 1 is mounted beside it
        version, root = 2, unified if unified.is_dir() else mount
    group = root / paths[name].lstrip("/")
    for folder in (group, *group.parents):
        yield ControlGroup(folder, version)
        if folder == root:
            return


def _hierarchies(self_: Path) -> Iterator[tuple[str, str]]:
    """Controllers and path of each line `4:cpu,cpuacct:/docker/1f2e`; version 2 has no controllers there."""
    for line in lines_of_file(self_):
        _, _, rest = line.partition(":")
        controllers, colon, path = rest.partition(":")
        if colon:
            yield controllers, path


def lines_of_file(path: Path) -> list[str]:
    """The lines of a small text file; none where it cannot be read, as on other systems than Linux."""
    try:
        return path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return []
