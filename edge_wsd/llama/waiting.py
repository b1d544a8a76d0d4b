"""How long threads look for each other before they sleep.

GNU's OpenMP, which llama.cpp is built with on Linux, looks for milliseconds. Beside another busy program the thread
that is waited for is not running, and decoding can fall to a tenth. About a tenth of a millisecond is as fast on a
quiet machine, and with larger models nearly as fast as one thread beside a busy one (docs/speed.md has small ones too).
OpenMP reads its environment once, when it is loaded.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping

_SPINS = "2000"
_OF_THE_USER = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


def wait_briefly(environment: MutableMapping[str, str] = os.environ) -> None:
    """Before llama_cpp is imported. What the user has set stays."""
    if not any(name in environment for name in _OF_THE_USER):
        environment["GOMP_SPINCOUNT"] = _SPINS
