"""The binding of llama.cpp, from the one place that imports it: what keeps it from loading is told in one line."""

from __future__ import annotations

import os

from edge_wsd.errors import KernelError
from edge_wsd.llama.installation import FOLDER_VARIABLE

try:
    import llama_cpp
except (ImportError, OSError, RuntimeError, AttributeError) as error:
    given = os.environ.get(FOLDER_VARIABLE)
    where = f" from {given}, which {FOLDER_VARIABLE} names" if given else ""
    raise KernelError(
        f"llama.cpp cannot be loaded{where}: {error}; `edge-wsd doctor` shows how it is installed"
    ) from error

__all__ = ["llama_cpp"]
