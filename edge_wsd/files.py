"""Writing files so that nothing is lost: under a name of its own beside the target, then renamed over it.

The names are random and begin with `.edge-wsd-`; whoever writes holds a lock on the file. So two that write the same
target, in two containers perhaps, never touch each other's bytes, and what a process left that was killed is told
from what is still being written, and removed by the next one that writes in that folder.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

if sys.platform != "win32":  # which refuses to delete a file that is open, so it needs no lock
    import fcntl

_PREFIX = ".edge-wsd-"
_TRIES = 10
_OWNER_MAY_WRITE = stat.S_IRUSR | stat.S_IWUSR


def write_atomically(path: Path, data: bytes) -> None:
    """Replace `path` by `data`, whole or not at all; see `replacing`. Raises OSError."""
    with replacing(path) as file:
        file.write(data)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Writes `path` anew: the block gets an empty file, which takes the place of `path` if the block succeeds.

    `file.name` is its path meanwhile, in the same folder. A symbolic link stays, what it points to is written. A file
    that is there keeps its permissions, a new one has those that the umask leaves. Raises OSError that names `path`;
    then nothing has changed.
    """
    target = behind_links(path)
    with scratch_file(target.parent, named=path) as file:
        before = _permissions(target)
        if before is not None:
            _allow(file, before.st_mode | _OWNER_MAY_WRITE)
        yield file
        file.flush()
        os.fsync(file.fileno())
        if before is not None:
            _give(file, before)
            _allow(file, before.st_mode)
        if sys.platform == "win32":  # where no open file can be renamed; elsewhere the lock holds until it is
            file.close()
        os.replace(file.name, target)


@contextmanager
def scratch_file(folder: Path, *, named: Path | None = None) -> Iterator[BinaryIO]:
    """A new file in `folder` that is gone after the block. `file.name` is its path. Raises OSError on `named`."""
    remove_abandoned(folder)
    try:
        file = _create(folder)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(named or folder)) from None
    with file:
        try:
            yield file
        finally:
            if sys.platform == "win32":
                file.close()
            Path(file.name).unlink(missing_ok=True)


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """A new folder in `parent` that is gone, with all that is in it, after the block. Raises OSError."""
    remove_abandoned(parent)
    folder, descriptor = _create_folder(parent)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # what cannot go now goes with the next one
        if descriptor is not None:
            os.close(descriptor)


def behind_links(path: Path) -> Path:
    """The file that writing to `path` changes: where its symbolic links lead, which need not exist.

    Raises OSError for what no file can be put in the place of: a folder, a device, a pipe, links in a circle.
    """
    try:
        target = Path(os.path.realpath(path))
        mode = os.stat(str(path)).st_mode  # not of `target`: only the kernel can follow /dev/stdout to a pipe
    except FileNotFoundError:
        return target
    except ValueError as error:  # a NUL character, half a character
        raise OSError(errno.EINVAL, f"it cannot be a file name ({error})", str(path)) from None
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "is a device or a pipe, not a file", str(path))
    return target


def remove_abandoned(folder: Path) -> None:
    """Removes from `folder` what processes left behind that ended before they could tidy up.

    Whatever is not surely abandoned stays: a lock says so, which ends with its process, and holds across containers.
    """
    try:
        entries = [entry for entry in os.scandir(folder) if entry.name.startswith(_PREFIX)]
    except OSError:  # whoever writes there next is told why it cannot
        return
    for entry in entries:
        _remove_if_abandoned(entry)


def _remove_if_abandoned(entry: os.DirEntry[str]) -> None:
    with suppress(OSError):  # it is in use, gone, or another user's
        if sys.platform == "win32":
            os.unlink(entry.path)
            return
        is_folder = entry.is_dir(follow_symlinks=False)
        kind = os.O_RDONLY | os.O_DIRECTORY if is_folder else os.O_RDWR | os.O_NONBLOCK
        descriptor = os.open(entry.path, kind | os.O_NOFOLLOW)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(entry.path) if is_folder else os.unlink(entry.path)
        finally:
            os.close(descriptor)


def _create(folder: Path) -> BinaryIO:
    """A new file in `folder`, locked as long as it is open."""
    for _ in range(_TRIES):
        file = open(folder / _new_name(), "x+b")  # noqa: SIM115 - the caller closes it
        if lock(file.fileno()) and os.fstat(file.fileno()).st_nlink:
            return file
        file.close()  # taken for abandoned before it was locked
    raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(folder))


def _create_folder(parent: Path) -> tuple[Path, int | None]:
    """The same of a folder, locked as long as the descriptor is open."""
    for _ in range(_TRIES):
        folder = parent / _new_name()
        folder.mkdir(mode=0o700)
        if sys.platform == "win32":  # which has no descriptors of folders
            return folder, None
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        if lock(descriptor) and folder.exists():
            return folder, descriptor
        os.close(descriptor)
    raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(parent))


def _new_name() -> str:
    """Short, as a target's own name may be as long as the file system allows."""
    return f"{_PREFIX}{secrets.token_hex(8)}.partial"


def lock(descriptor: int) -> bool:
    """Whether this process has the file for itself now, until it closes it. On a file system without locks it has."""
    if sys.platform != "win32":
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            return True
    return True


def _permissions(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _allow(file: BinaryIO, mode: int) -> None:
    if sys.platform != "win32":
        os.fchmod(file.fileno(), stat.S_IMODE(mode))


def _give(file: BinaryIO, before: os.stat_result) -> None:
    """Leaves the file to the owner it had, which only root can where that is another one."""
    if sys.platform != "win32":
        with suppress(PermissionError):
            os.fchown(file.fileno(), before.st_uid, before.st_gid)
