"""A secret of this user, by which the program knows files that it wrote itself.

llama.cpp trusts what it restores: made-up bytes can end the process. A checksum finds damage, and anybody can compute
one; the seal of a secret says that nobody else made the file.
"""

from __future__ import annotations

import hmac
import os
import secrets
from pathlib import Path

from edge_wsd.errors import SessionError
from edge_wsd.files import replacing
from edge_wsd.reading import read_bounded
from edge_wsd.user_folders import data_folder

_NAME, _N_BYTES = "session_secret", 32


def seal(data: bytes) -> str:
    """The seal of `data`, in hexadecimal digits. Raises `SessionError` where no secret can be kept."""
    return hmac.new(_secret(), data, "sha256").hexdigest()


def is_sealed(data: bytes, mark: str) -> bool:
    """Whether `mark` is the seal of `data`. Raises as `seal` does."""
    return hmac.compare_digest(seal(data).encode(), mark.encode())


def _secret() -> bytes:
    try:
        path = data_folder() / _NAME
        found = read_bounded(path, _N_BYTES) if path.exists() else b""
        return found if len(found) == _N_BYTES else _made(path)
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home folder
        raise SessionError(f"no secret can be kept to seal files with ({error})") from error


def _made(path: Path) -> bytes:
    secret = secrets.token_bytes(_N_BYTES)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with replacing(path) as file:
        os.chmod(file.name, 0o600)
        file.write(secret)
    return secret
