"""The file to be written: it must be wanted, it must fit on the disk, and it appears only once it is complete."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_wsd.errors import ConversionError, EdgeWsdError
from edge_wsd.models.sizes_in_words import gib

Failure = type[EdgeWsdError]


def require_target(target: Path, force: bool, failure: Failure = ConversionError) -> None:
    """Raises `failure` if `target` cannot be written, or exists and `force` does not allow to replace it."""
    if target.is_dir():
        raise failure(f"{target} is a folder; name the GGUF file to write")
    if target.exists() and not force:
        raise failure(f"{target} exists already; choose another name or use --force")
    if not target.parent.is_dir():
        raise failure(f"folder {target.parent} does not exist; make it first")
    if not os.access(target.parent, os.W_OK):
        raise failure(f"folder {target.parent} cannot be written to; change its permissions or name another one")


def require_space(
    folder: Path, needed: int, failure: Failure = ConversionError, advice: str = "free some space"
) -> None:
    """Raises `failure` if the disk of `folder` has less than `needed` bytes free."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise failure(f"{folder} has {gib(free)} free, {gib(needed)} are needed; {advice}")


def temporary_name(target: Path, purpose: str = "partial") -> Path:
    """A name beside `target` for what this process writes before it."""
    return target.with_name(f".{target.name}.{os.getpid()}.{purpose}")


@contextmanager
def renamed_when_complete(target: Path, failure: Failure = ConversionError) -> Iterator[Path]:
    """A temporary name to write to; it becomes `target` if the block succeeds and is removed if not."""
    temporary = temporary_name(target)
    try:
        yield temporary
        os.replace(temporary, target)
    except OSError as error:
        raise failure(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)
