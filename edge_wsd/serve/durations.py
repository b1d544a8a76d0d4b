"""Durations as Ollama's requests and answers have them, and `--keep-alive`.

>>> keep_alive_seconds("1h30m"), keep_alive_seconds(0), nanoseconds(0.25)
(5400.0, 0.0, 250000000)
"""

from __future__ import annotations

import math
import re

from edge_wsd.checks import require

_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)"
_LONGEST = 100
"""Characters; more would only take time to read."""
_DURATION = re.compile(rf"([+-]?)((?:{_PART})+)")


def keep_alive_seconds(given: float | str) -> float:
    """Seconds; infinity for a negative number. A number without a unit counts seconds. Raises `OptionError`."""
    seconds = _seconds(given.strip()) if isinstance(given, str) else float(given)
    holds = seconds is not None and not math.isnan(seconds)
    require(holds, "keep_alive", 'a number of seconds or a duration such as "10m"', given)
    assert seconds is not None
    return math.inf if seconds < 0 else seconds


def _seconds(text: str) -> float | None:
    if len(text) > _LONGEST:
        return None
    try:
        return float(text)
    except ValueError:
        found = _DURATION.fullmatch(text)
    if found is None:
        return None
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in re.findall(_PART, found[2]))
    return -seconds if found[1] == "-" else seconds


def nanoseconds(seconds: float) -> int:
    """At least one, since clients divide by it."""
    return max(1, round(seconds * 1e9))
