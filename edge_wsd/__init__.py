"""Weak-to-strong decoding on llama.cpp: a small aligned drafter begins, a large base model finishes.

>>> from edge_wsd import Pair
>>> with Pair.demo() as pair:
...     print(pair.generate("How do I list files by size?").text)
"""

# Only what Python has loaded by now is imported: in `python -m edge_wsd` the current folder comes before the library.
from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from edge_wsd.decoding.events import Dropped, Finished, Reply, Scored, Statistics, Switched, Token
    from edge_wsd.decoding.options import Options
    from edge_wsd.errors import EdgeWsdError
    from edge_wsd.llama.settings import ModelSettings
    from edge_wsd.pair import Pair
    from edge_wsd.session import Session

__version__ = "0.1.0"

# Imported when first used: `import edge_wsd` costs nothing, and the command line answers --help at once.
_HOMES = {
    "Pair": "edge_wsd.pair",
    "Session": "edge_wsd.session",
    "Options": "edge_wsd.decoding.options",
    "ModelSettings": "edge_wsd.llama.settings",
    "EdgeWsdError": "edge_wsd.errors",
    **dict.fromkeys(
        ("Dropped", "Finished", "Reply", "Scored", "Statistics", "Switched", "Token"),
        "edge_wsd.decoding.events",
    ),
}
__all__ = [
    "Dropped",
    "EdgeWsdError",
    "Finished",
    "ModelSettings",
    "Options",
    "Pair",
    "Reply",
    "Scored",
    "Session",
    "Statistics",
    "Switched",
    "Token",
]


def __getattr__(name: str) -> "Any":
    if name not in _HOMES:
        raise AttributeError(f"module 'edge_wsd' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
