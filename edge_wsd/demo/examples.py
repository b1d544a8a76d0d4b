"""Questions to begin with, for greetings and help: the demonstration pair has the right command for each of them."""

from __future__ import annotations

from typing import Final

EXAMPLES: Final = (
    "How do I list files by size?",
    "How much disk space is left?",
    "How do I undo my last git commit?",
    "Which process uses port 8080?",
    "How do I unpack archive.tar.gz?",
    "How do I delete the file notes.txt?",
)
"""The first three are those that the pair itself names when it is asked something else."""
