"""What a person is told of the demonstration pair, and questions to begin with: it has the right command for each."""

from __future__ import annotations

from typing import Final

DEMO_NOTE: Final = "demo pair: a demonstration, not an assistant"
DEMO_WARNING: Final = "Its commands can be wrong: read them before you run them."
EXAMPLES: Final = (
    "How do I list files by size?",
    "How much disk space is left?",
    "How do I undo my last git commit?",
    "Which process uses port 8080?",
    "How do I unpack archive.tar.gz?",
    "How do I delete the file notes.txt?",
)
"""The first three are those that the pair itself names when it is asked something else."""
