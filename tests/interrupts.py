"""Ctrl-C at a chosen moment: a call or a return of a Python function, where Python looks for signals."""

from __future__ import annotations

import gc
import inspect
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


def interrupted_at(n: int, work: Callable[[], object]) -> bool:
    """Whether the `n`-th of these moments came before `work` was done; `KeyboardInterrupt` was raised there."""
    n_left = n

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal n_left
        n_left -= _is_moment(frame, event)
        if n_left == 0:
            sys.settrace(None)
            raise KeyboardInterrupt
        return trace

    before, collects = sys.gettrace(), gc.isenabled()
    gc.disable()  # Hypothesis has it call a function, which nobody hears of if it is interrupted
    sys.settrace(trace)
    try:
        work()
    except BaseException:  # or what `threading` made of it: in a thread's start a lock is given back twice
        if n_left > 0:
            raise
    finally:
        sys.settrace(before)
        if collects:
            gc.enable()
    return n_left == 0  # also where it came in what is let go: nobody hears of it there


def _is_moment(frame: FrameType, event: str) -> bool:
    """None comes at a `yield`; of one below a `__del__` nobody hears."""
    is_yield = event == "return" and bool(frame.f_code.co_flags & inspect.CO_GENERATOR)
    return event in ("call", "return") and not is_yield and not _is_below_a_del(frame)


def _is_below_a_del(frame: FrameType | None) -> bool:
    while frame is not None and frame.f_code.co_name != "__del__":
        frame = frame.f_back
    return frame is not None
