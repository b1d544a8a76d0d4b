"""Memory that llama.cpp has freed, given back to the system.

glibc keeps what was freed for whoever asks next, in pieces that each load uses differently: after 20 loads an
application had 13 % more memory of its own than after the first (`scripts/bench_reload.py`). Other systems give back
by themselves.
"""

from __future__ import annotations

import ctypes
import sys

_trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None


def give_back() -> None:
    """Call it after something large was freed; it takes about a millisecond."""
    if _trim is not None:
        _trim(ctypes.c_size_t(0))
