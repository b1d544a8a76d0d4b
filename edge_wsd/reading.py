"""Reading files that somebody else made: regular ones only, never more than a limit, and JSON that nests sanely.

>>> parse_json(read_bounded(path, 16 << 20))
"""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO

_HANDED_OVER = ("/dev/fd/", "/dev/stdin", "/proc/self/fd/")
"""Pipes that the caller itself holds open, such as those of the shell's `<(command)`."""


def open_regular(path: str | Path) -> BinaryIO:
    """Opens the file at `path`. Raises OSError, whose `strerror` says it all.

    A folder, a device or a named pipe is refused before anything waits for it or is read of it.
    """
    try:
        _refuse_special(os.stat(path), path)
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except ValueError as error:  # a NUL character, half a character
        raise OSError(errno.EINVAL, f"it cannot be a file name ({error})", str(path)) from None
    try:
        _refuse_special(os.fstat(descriptor), path)  # again, as it may have been exchanged
        if hasattr(os, "set_blocking"):
            os.set_blocking(descriptor, True)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _refuse_special(status: os.stat_result, path: str | Path) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder, not a file", str(path))
    if stat.S_ISFIFO(status.st_mode) and str(path).startswith(_HANDED_OVER):
        return
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is a device or a pipe, not a file", str(path))


def read_bounded(path: str | Path, limit: int) -> bytes:
    """The whole file at `path`, of at most `limit` bytes. Raises OSError, as `open_regular` and for a larger file."""
    with open_regular(path) as file:
        too_large = os.fstat(file.fileno()).st_size > limit
        data = b"" if too_large else file.read(limit + 1)
    if too_large or len(data) > limit:
        size = f"{limit >> 20} MiB" if limit >= 1 << 20 else f"{limit >> 10} KiB"
        raise OSError(errno.EFBIG, f"it is larger than {size}", str(path))
    return data


def parse_json(data: str | bytes) -> Any:
    """The value in `data`, whose strings are all valid text. Raises ValueError, also for thousands of brackets.

    JSON can name half a character (`\\ud800`), which no file, terminal or model takes.
    """
    text = (data if isinstance(data, str) else data.decode()).removeprefix("\ufeff")
    try:
        value = json.loads(text)
        if "\\ud" in text or "\\uD" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("it nests too many brackets") from None
    except json.JSONDecodeError:
        raise
    except UnicodeEncodeError as error:
        half = error.object[error.start]
        raise ValueError(f"it holds half a character (\\u{ord(half):04x}), which is not text") from None
    except ValueError:  # of a whole number; Python reads none of more than 4300 digits
        raise ValueError("it holds a number of thousands of digits") from None
    return value
