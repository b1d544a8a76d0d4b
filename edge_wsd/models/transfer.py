"""Brings files of a repository to disk: several at once, resumed where they were cut, checked before they count.

A file that is being fetched is called `NAME.SHA.incomplete`. It gets its name only when its checksum is right, so
a file that has its name needs no second check.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from huggingface_hub import try_to_load_from_cache

from edge_wsd.errors import HubError
from edge_wsd.models.hub import Hub, RemoteFile, Snapshot
from edge_wsd.models.hub_errors import CLIENT_ERRORS, ShortBody, wait_before_retry

WORKERS = 4
"""Files fetched at once."""
_INCOMPLETE = ".incomplete"
_READ_BYTES = 1 << 20
_POLL_S = 0.1
_TRIES_OF_CHECKSUM = 2

Progress = Callable[[int, int, str], None]
"""Called with bytes there, bytes in all, and what is being waited for ("" for nothing); may raise to stop."""


class _Stopped(Exception):
    """Another file failed or the user gave up; what has arrived stays."""


@dataclass(frozen=True)
class Place:
    """Where a file of a snapshot goes."""

    file: RemoteFile
    target: Path
    cached: Path | None = None
    """The same file in the cache that the client shares with `hf` and transformers."""

    @property
    def partial(self) -> Path:
        identity = (self.file.sha256 or self.file.git_sha1 or "unknown")[:16]
        return self.target.with_name(f"{self.target.name}.{identity}{_INCOMPLETE}")

    def is_complete(self) -> bool:
        return self.target.is_file() and self.target.stat().st_size == self.file.n_bytes

    def n_bytes_there(self) -> int:
        """Bytes that need not be fetched any more."""
        if self.is_complete() or self.cached is not None:
            return self.file.n_bytes
        return min(self.partial.stat().st_size, self.file.n_bytes) if self.partial.is_file() else 0


def places(snapshot: Snapshot, files: Sequence[RemoteFile], folder: Path) -> list[Place]:
    """Each file below `folder` at its path in the repository."""
    return [Place(file, folder / file.path, _cached(snapshot, file)) for file in files]


def _cached(snapshot: Snapshot, file: RemoteFile) -> Path | None:
    found = try_to_load_from_cache(snapshot.repo, file.path, revision=snapshot.revision)
    path = Path(found) if isinstance(found, str) else None
    return path if path is not None and path.is_file() and path.stat().st_size == file.n_bytes else None


def fetch(
    hub: Hub, snapshot: Snapshot, wanted: Sequence[Place], progress: Progress, *, now: Sequence[Place] | None = None
) -> None:
    """Fetches what is not there yet of `now` (None: of all `wanted`, over which the progress counts).

    Raises HubError (checksum, access, connection), OSError of the disk, or what `progress` raises; in each case
    what has arrived stays for the next call.
    """
    job = _Job(hub, snapshot, wanted)
    with ThreadPoolExecutor(WORKERS, thread_name_prefix="edge-wsd fetch") as pool:
        try:
            missing = [place for place in (wanted if now is None else now) if not place.is_complete()]
            waiting = {pool.submit(job.fetch, place) for place in missing}
            while waiting:
                done, waiting = wait(waiting, _POLL_S, "FIRST_EXCEPTION")
                _raise_first(done)
                progress(*job.state())
        finally:  # whatever ends this early ends the threads too; after the last file there are none
            job.stop.set()
    progress(*job.state())


def _raise_first(done: set[Future[None]]) -> None:
    errors = [error for future in done if (error := future.exception()) is not None]
    for error in errors:
        if not isinstance(error, _Stopped):
            raise error


class _Job:
    """The files of one call, and how far they are."""

    def __init__(self, hub: Hub, snapshot: Snapshot, wanted: Sequence[Place]) -> None:
        self._hub, self._snapshot = hub, snapshot
        self._total = sum(place.file.n_bytes for place in wanted)
        self._there = {place.file.path: place.n_bytes_there() for place in wanted}
        self._note = ""
        self.stop = threading.Event()

    def state(self) -> tuple[int, int, str]:
        return sum(self._there.values()), self._total, self._note

    def fetch(self, place: Place) -> None:
        """One file, in a thread of its own."""
        self._check_stop()
        place.target.parent.mkdir(parents=True, exist_ok=True)
        if place.cached is not None and self._take_from_cache(place, place.cached.resolve()):
            return
        problem = ""
        for _ in range(_TRIES_OF_CHECKSUM):
            problem = self._fetch_once(place)
            if not problem:
                place.partial.replace(place.target)
                return
            place.partial.unlink()
            self._there[place.file.path] = 0
        raise HubError(
            f"{place.file.path} of {self._snapshot.repo} arrived wrong {_TRIES_OF_CHECKSUM} times: {problem}; "
            "something on the way changes it; the other files are kept: pull again, over another network perhaps"
        )

    def _take_from_cache(self, place: Place, cached: Path) -> bool:
        """Links or copies a file of the client's cache, if its checksum is right."""
        digest = _Digest(place.file)
        digest.begin_with(cached, self._check_stop)
        if digest.problem():
            self._there[place.file.path] = 0
            return False
        try:
            os.link(cached, place.target)
        except OSError:  # another disk, or one without links
            shutil.copyfile(cached, place.partial)
            place.partial.replace(place.target)
        return True

    def _fetch_once(self, place: Place) -> str:
        """All bytes of a file into its partial file, over as many connections as it takes. Returns what is wrong."""
        digest = _Digest(place.file)
        failures = 0
        with place.partial.open("ab") as partial:
            digest.begin_with(place.partial, self._check_stop)
            while digest.n_bytes < place.file.n_bytes:
                before = digest.n_bytes
                try:
                    self._receive(place, partial, digest)
                except CLIENT_ERRORS as error:
                    failures = 1 if digest.n_bytes > before else failures + 1
                    self._pause_after(error, failures)
                self._note = ""
            partial.flush()
            os.fsync(partial.fileno())
        return digest.problem()

    def _receive(self, place: Place, partial: BinaryIO, digest: _Digest) -> None:
        """What one connection delivers. Raises the client's errors, ShortBody if the stream ends too early."""
        with self._hub.open(self._snapshot, place.file, digest.n_bytes) as (begin, stream):
            if begin != digest.n_bytes:
                partial.truncate(0)  # opened for appending, so writing goes on at the new end
                digest.reset()
            for piece in stream:
                self._check_stop()
                partial.write(piece)
                digest.update(piece)
                self._there[place.file.path] = digest.n_bytes
                if digest.n_bytes > place.file.n_bytes:
                    return
        if digest.n_bytes < place.file.n_bytes:
            raise ShortBody(f"{place.file.path} ended after {digest.n_bytes} of {place.file.n_bytes} bytes")

    def _pause_after(self, error: Exception, failures: int) -> None:
        try:
            seconds, reason = wait_before_retry(error, failures, self._hub.patience)
        except CLIENT_ERRORS:
            raise self._hub.error(error, self._snapshot.repo, self._snapshot.revision) from error
        self._note = reason
        if self.stop.wait(seconds):
            raise _Stopped

    def _check_stop(self) -> None:
        if self.stop.is_set():
            raise _Stopped


class _Digest:
    """The checksums of one file while it grows: SHA-256, and git's own where the hub knows no other."""

    def __init__(self, file: RemoteFile) -> None:
        self._file = file
        self.reset()

    def reset(self) -> None:
        self.n_bytes = 0
        self._hash: Any = None
        if self._file.sha256 is not None:
            self._hash = hashlib.sha256()
        elif self._file.git_sha1 is not None:
            self._hash = hashlib.sha1(b"blob %d\0" % self._file.n_bytes, usedforsecurity=False)

    def update(self, piece: bytes) -> None:
        self.n_bytes += len(piece)
        if self._hash is not None:
            self._hash.update(piece)

    def begin_with(self, partial: Path, check_stop: Callable[[], None]) -> None:
        """Counts what an earlier run left in `partial`."""
        with partial.open("rb") as file:
            while piece := file.read(_READ_BYTES):
                check_stop()
                self.update(piece)

    def problem(self) -> str:
        """What is wrong with the whole file; empty if nothing is."""
        if self.n_bytes != self._file.n_bytes:
            return f"it has {self.n_bytes} bytes or more, the hub says {self._file.n_bytes}"
        expected = self._file.sha256 or self._file.git_sha1
        if self._hash is None or self._hash.hexdigest() == expected:
            return ""
        return f"its checksum is {self._hash.hexdigest()[:16]}…, the hub says {str(expected)[:16]}…"
