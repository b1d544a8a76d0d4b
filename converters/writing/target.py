"""The file to be written: it must be wanted, it must fit on the disk, and it appears only once it is complete."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_wsd.errors import ConversionError, EdgeWsdError
from edge_wsd.files import behind_links, replacing
from edge_wsd.units import gib

Failure = type[EdgeWsdError]


def require_target(target: Path, force: bool, failure: Failure = ConversionError) -> None:
    """Raises `failure` if `target` cannot be written, or exists and `force` does not allow to replace it.

    A link to nothing counts as existing: what it names was meant by somebody else, perhaps on a disk that is away.
    """
    try:
        place = behind_links(target)
    except IsADirectoryError:
        raise failure(f"{target} is a folder; name the GGUF file to write") from None
    except OSError as error:
        raise failure(f"{target} cannot be written: {error.strerror}; name the GGUF file to write") from None
    if not force and place.exists():
        raise failure(f"{target} exists already; choose another name or use --force")
    if not force and target.is_symlink():
        raise failure(f"{target} is a link to {place}, which is not there; choose another name or use --force")
    if not place.parent.is_dir():
        raise failure(f"folder {place.parent} does not exist; make it first")
    if not os.access(place.parent, os.W_OK):
        raise failure(f"folder {place.parent} cannot be written to; change its permissions or name another one")
    if place.exists() and not os.access(place, os.W_OK):
        raise failure(f"{target} is read-only; change its permissions or choose another name")


def require_apart(target: Path, sources: Iterable[Path], what: str, failure: Failure = ConversionError) -> None:
    """Raises `failure` if `target` is one of the `sources`, under whatever name: it is needed still, as `what` says."""
    if target.exists() and any(source.exists() and target.samefile(source) for source in sources):
        raise failure(f"{target} is the file {what}; choose another name")


def place_of(target: Path) -> Path:
    """The folder that `target` will really lie in, behind links. Raises OSError as `replacing` would."""
    return behind_links(target).parent


def require_space(
    folder: Path, needed: int, failure: Failure = ConversionError, advice: str = "free some space"
) -> None:
    """Raises `failure` if the disk of `folder` has less than `needed` bytes free."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise failure(f"{folder} has {gib(free)} free, {gib(needed)} are needed; {advice}")


@contextmanager
def renamed_when_complete(target: Path, failure: Failure = ConversionError) -> Iterator[Path]:
    """The path of an empty file to fill; it becomes `target` if the block succeeds and is removed if not."""
    try:
        with replacing(target) as file:
            yield Path(file.name)
    except OSError as error:
        raise failure(f"cannot write {target}: {error.strerror or error}") from error
