"""The built-in texts on which models are compared: prose, code and dialogue, none of which calibrates anything.

>>> [len(text) > 1000 for text in evaluation_texts()]
[True, True, True]
"""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).with_name("evaluation")
KINDS = ("prose", "code", "dialogue")


def evaluation_texts() -> list[str]:
    """One text of a few kilobytes for each of KINDS."""
    return [(_FOLDER / f"{kind}.txt").read_text(encoding="utf-8") for kind in KINDS]
