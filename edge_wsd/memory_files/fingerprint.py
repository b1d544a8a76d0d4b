"""Which model a file is, without reading all of it."""

from __future__ import annotations

import glob
import re
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

_PART_NUMBER = re.compile(r"-\d{5}(-of-\d{5}\.gguf)")
_PIECE = 1 << 20
_MOST_PIECES = 256


def fingerprint(path: Path) -> str:
    """Changes with the file's size, its time of change and its bytes: all of them up to 256 MiB, and 256 pieces of
    one MiB, spread over the file, of a larger one. A split model counts with all its parts. Raises OSError.
    """
    rest = _PART_NUMBER.search(path.name)
    parts = path.parent.glob(f"{glob.escape(path.name[: rest.start()])}-*{rest[1]}") if rest else [path]
    known = [(part, part.stat()) for part in sorted(parts)]
    return " ".join(_fingerprint(part, status.st_size, status.st_mtime_ns) for part, status in known)


@lru_cache(maxsize=16)
def _fingerprint(path: Path, size: int, changed_ns: int) -> str:
    digest = sha256(f"{size} {changed_ns}\n".encode())
    n_pieces = min(_MOST_PIECES, -(-size // _PIECE))
    with path.open("rb") as file:
        for i in range(n_pieces):
            last = max(0, size - _PIECE)
            file.seek(min(i * _PIECE, last) if n_pieces < _MOST_PIECES else last * i // (n_pieces - 1))
            digest.update(file.read(_PIECE))
    return digest.hexdigest()
