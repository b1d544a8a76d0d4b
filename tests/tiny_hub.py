"""A repository with a ready GGUF file and others, as the tests of pulling use it, and what a pull left behind."""

from __future__ import annotations

import hashlib
from pathlib import Path

from edge_wsd.demo.files import drafter_path
from edge_wsd.models.store.local import Store

GGUF = drafter_path().read_bytes()
REPO, NAME, FILE = "someone/Tiny-GGUF", "someone/Tiny-GGUF:Q4_K_M", "tiny-Q4_K_M.gguf"
COMMIT = hashlib.sha1(f"{REPO} 0".encode()).hexdigest()
ODDS = {"README.md": b"card", "a.txt": b"a", "b.txt": b"b", "c.txt": b"c"}


def left_over(store: Store) -> list[Path]:
    """Files of unfinished pulls."""
    return [path for path in (store.root / ".staging").rglob("*") if path.is_file()]
