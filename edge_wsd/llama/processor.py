"""The processor of this machine: what it is called and which instruction sets it has."""

from __future__ import annotations

import platform
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
# Lines of /proc/cpuinfo that tell one kind of processor from another, on x86 and on Arm.
_IDENTITY = ("model name", "vendor_id", "cpu family", "model", "stepping", "CPU implementer", "CPU part", "CPU variant")
_FLAGS = ("flags", "Features")
_SYSCTL = "/usr/sbin/sysctl"  # a bare name would be looked for wherever PATH says
_MAC_FLAGS = ("machdep.cpu.features", "machdep.cpu.leaf7_features")
# Numbers of `IsProcessorFeaturePresent`. FMA, F16C and BMI2 came with the same processors as AVX2.
_WINDOWS_FLAGS = {38: ("sse4_2",), 39: ("avx",), 40: ("avx2", "fma", "f16c", "bmi2"), 43: ("asimddp",)}


@dataclass(frozen=True, slots=True)
class Processor:
    """`flags` are named as Linux names them, where the system tells them."""

    machine: str
    """`x86_64`, `aarch64`, ..."""
    identity: str
    flags: frozenset[str]

    @property
    def is_x86(self) -> bool:
        return self.machine.lower() in ("x86_64", "amd64", "i686", "x86")


@cache
def this_processor() -> Processor:
    """The one this process runs on."""
    machine = platform.machine()
    if platform.system() == "Linux":
        lines = _first_block()
        identity = "; ".join(f"{name} {lines[name]}" for name in _IDENTITY if name in lines)
        flags = next((lines[name] for name in _FLAGS if name in lines), "")
        return Processor(machine, identity, frozenset(flags.split()))
    if platform.system() == "Darwin":
        flags = " ".join(mac_fact(name) for name in _MAC_FLAGS).lower()
        flags = flags.replace("sse4.2", "sse4_2").replace("avx1.0", "avx")
        return Processor(machine, mac_fact("machdep.cpu.brand_string"), frozenset(flags.split()))
    return Processor(machine, platform.processor(), _windows_flags())


def _first_block() -> dict[str, str]:
    """What /proc/cpuinfo says of the first processor; of the others it says the same."""
    lines: dict[str, str] = {}
    try:
        with _CPUINFO.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                name, _, value = line.partition(":")
                if not value and lines:
                    break
                lines[name.strip()] = value.strip()
    except OSError:  # a container may hide it
        return {}
    return lines


def mac_fact(name: str) -> str:
    """What macOS says of `name`, such as `hw.physicalcpu`; empty if nothing."""
    try:
        answer = subprocess.run([_SYSCTL, "-n", name], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""


def _windows_flags() -> frozenset[str]:
    found: set[str] = set()
    if sys.platform == "win32":
        import ctypes

        for number, names in _WINDOWS_FLAGS.items():
            if ctypes.windll.kernel32.IsProcessorFeaturePresent(number):
                found.update(names)
    return frozenset(found)
