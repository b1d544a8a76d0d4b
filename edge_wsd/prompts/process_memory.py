"""How much memory a child process has taken, for systems where it cannot be bounded from inside."""

from __future__ import annotations

import ctypes
import subprocess
import sys

_WORDS_OF_RUSAGE, _FOOTPRINT = 12, 9  # of 8 bytes each in macOS' struct rusage_info_v0; which of them counts
_LIBRARY_OF_MACOS = "/usr/lib/libSystem.B.dylib"


def memory_of(child: subprocess.Popen[bytes]) -> int | None:
    """Bytes that are its own; None where the system bounds them itself (Linux), or does not tell."""
    if sys.platform == "darwin":
        return _on_macos(child.pid)
    if sys.platform == "win32":
        return _on_windows(int(child._handle))
    return None


def _on_macos(pid: int) -> int | None:
    usage = (ctypes.c_uint64 * _WORDS_OF_RUSAGE)()
    failed = ctypes.CDLL(_LIBRARY_OF_MACOS).proc_pid_rusage(pid, 0, ctypes.byref(usage))
    return None if failed else usage[_FOOTPRINT]


class _Counters(ctypes.Structure):
    """Windows' PROCESS_MEMORY_COUNTERS."""

    _fields_ = [
        ("cb", ctypes.c_uint32),
        ("page_faults", ctypes.c_uint32),
        *((f"size_{n}", ctypes.c_size_t) for n in range(6)),
        ("committed", ctypes.c_size_t),
        ("most_committed", ctypes.c_size_t),
    ]


def _on_windows(handle: int) -> int | None:
    counters = _Counters(cb=ctypes.sizeof(_Counters))
    if sys.platform == "win32":
        information = ctypes.windll.kernel32.K32GetProcessMemoryInfo
        if information(ctypes.c_void_p(handle), ctypes.byref(counters), counters.cb):
            return int(counters.committed)
    return None
