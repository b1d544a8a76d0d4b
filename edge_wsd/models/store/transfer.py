"""Brings files of a repository to disk: several at once, resumed where they were cut, checked before they count.

A file that is being fetched has a name of its path and checksum that ends in `.incomplete`. It gets its own only when
its checksum is right, so a file that has its name needs no second check. `huggingface_hub` (as of 2.4) downloads to a
name that no later call knows, and so begins anew after each interruption.
"""

from __future__ import annotations

import hashlib
import os
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from edge_wsd.errors import HubError
from edge_wsd.models.store.background import POLL_S
from edge_wsd.models.store.hub import Hub, RemoteFile, Snapshot
from edge_wsd.models.store.hub_client import cached_file
from edge_wsd.models.store.hub_errors import CLIENT_ERRORS, ShortBody, wait_before_retry

WORKERS = 4
"""Files fetched at once."""
_INCOMPLETE = ".incomplete"
_READ_BYTES = 1 << 20
_TRIES_OF_CHECKSUM = 2

DownloadProgress = Callable[[int, int, str], None]
"""Called with bytes there, bytes in all, and what is being waited for ("" for nothing); may raise to stop."""


class _Stopped(Exception):
    """Another file failed or the user gave up; nobody waits for this one, and what has arrived stays."""


@dataclass(frozen=True)
class Download:
    """Where a file of a snapshot goes."""

    file: RemoteFile
    target: Path
    cached: Path | None = None
    """The same file in the cache that the client shares with `hf` and transformers."""

    @property
    def partial(self) -> Path:
        """Beside the target, whose own name may be as long as the file system allows."""
        identity = (self.file.sha256 or self.file.git_sha1 or "unknown")[:16]
        name = hashlib.sha256(self.target.name.encode()).hexdigest()[:16]
        return self.target.with_name(f"{name}.{identity}{_INCOMPLETE}")

    def is_complete(self) -> bool:
        return self.target.is_file() and self.target.stat().st_size == self.file.n_bytes

    def n_bytes_there(self) -> int:
        """Bytes that need not be fetched any more."""
        if self.is_complete() or self.cached is not None:
            return self.file.n_bytes
        return min(self.partial.stat().st_size, self.file.n_bytes) if self.partial.is_file() else 0


def downloads(snapshot: Snapshot, files: Sequence[RemoteFile], folder: Path) -> list[Download]:
    """Each file below `folder` at its path in the repository."""
    return [Download(file, folder / file.path, _cached(snapshot, file)) for file in files]


def _cached(snapshot: Snapshot, file: RemoteFile) -> Path | None:
    path = cached_file(snapshot.repo, snapshot.revision, file.path)
    return path if path is not None and path.stat().st_size == file.n_bytes else None


def fetch(
    hub: Hub,
    snapshot: Snapshot,
    wanted: Sequence[Download],
    progress: DownloadProgress,
    *,
    now: Sequence[Download] | None = None,
) -> None:
    """Fetches what is not there yet of `now` (None: of all `wanted`, over which the progress counts).

    Raises HubError (checksum, access, connection), OSError of the disk, or what `progress` raises; in each case
    what has arrived stays for the next call. A hub that is silent holds nobody up who gives up.
    """
    job = _Job(hub, snapshot, wanted)
    missing = [download for download in (wanted if now is None else now) if not download.is_complete()]
    try:
        job.begin(missing)
        n_left = len(missing)
        while n_left:
            n_left -= job.wait_for_one()
            progress(*job.state())
    finally:
        job.end()
    progress(*job.state())


class _Job:
    """The files of one call, and how far they are.

    Each is fetched in a thread. One that waits for a silent hub is not waited for when the job ends, so whatever is
    done to a file is done while the job goes on, under its lock.
    """

    def __init__(self, hub: Hub, snapshot: Snapshot, wanted: Sequence[Download]) -> None:
        self._hub, self._snapshot = hub, snapshot
        self._total = sum(download.file.n_bytes for download in wanted)
        self._there = {download.file.path: download.n_bytes_there() for download in wanted}
        self._note = ""
        self._missing: queue.SimpleQueue[Download] = queue.SimpleQueue()
        self._ended: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._writing = threading.Lock()

    def state(self) -> tuple[int, int, str]:
        return sum(self._there.values()), self._total, self._note

    def begin(self, missing: Sequence[Download]) -> None:
        """Starts as many threads as there is work for, at most WORKERS."""
        for download in missing:
            self._missing.put(download)
        for _ in range(min(WORKERS, len(missing))):
            threading.Thread(target=self._work, name="edge-wsd fetch", daemon=True).start()

    def wait_for_one(self) -> bool:
        """Waits a moment. Whether a file was finished meanwhile; raises what kept one from being fetched."""
        try:
            error = self._ended.get(timeout=POLL_S)
        except queue.Empty:
            return False
        if error is not None:
            raise error
        return True

    def end(self) -> None:
        """No thread touches a file any more."""
        with self._writing:
            self._stop.set()

    def _work(self) -> None:
        while not self._stop.is_set():
            try:
                download = self._missing.get_nowait()
            except queue.Empty:
                return
            try:
                self._fetch(download)
            except BaseException as error:  # raised by `wait_for_one`
                self._ended.put(error)
                return
            self._ended.put(None)

    def _fetch(self, download: Download) -> None:
        with self._going_on():
            download.target.parent.mkdir(parents=True, exist_ok=True)
        if download.cached is not None and self._take_from_cache(download, download.cached.resolve()):
            return
        problem = ""
        for _ in range(_TRIES_OF_CHECKSUM):
            problem = self._fetch_once(download)
            with self._going_on():
                if not problem:
                    download.partial.replace(download.target)
                    return
                download.partial.unlink()
            self._there[download.file.path] = 0
        raise HubError(
            f"{download.file.path} of {self._snapshot.repo} arrived damaged {_TRIES_OF_CHECKSUM} times: {problem}; "
            "something on the way changes it; the other files are kept: pull again, perhaps over another network"
        )

    def _take_from_cache(self, download: Download, cached: Path) -> bool:
        """Links or copies a file of the client's cache, if its checksum is right."""
        digest = _Digest(download.file)
        digest.begin_with(cached, self._check_stop)
        if digest.problem():
            self._there[download.file.path] = 0
            return False
        try:
            with self._going_on():
                os.link(cached, download.target)
        except OSError:  # another disk, or one without links
            self._copy(cached, download)
        return True

    def _copy(self, source: Path, download: Download) -> None:
        with self._going_on():
            partial = download.partial.open("wb", buffering=0)
        with source.open("rb") as file, partial:
            while piece := file.read(_READ_BYTES):
                with self._going_on():
                    partial.write(piece)
        with self._going_on():
            download.partial.replace(download.target)

    def _fetch_once(self, download: Download) -> str:
        """All bytes of a file into its partial file, over as many connections as it takes. Returns what is wrong."""
        digest = _Digest(download.file)
        failures = 0
        with self._going_on():
            partial = download.partial.open("ab", buffering=0)  # what was written is in the file, not on its way there
        with partial:
            digest.begin_with(download.partial, self._check_stop)
            while digest.n_bytes < download.file.n_bytes:
                before = digest.n_bytes
                try:
                    self._receive(download, partial, digest)
                except CLIENT_ERRORS as error:
                    failures = 1 if digest.n_bytes > before else failures + 1
                    self._pause_after(error, failures)
                self._note = ""
            os.fsync(partial.fileno())
        return digest.problem()

    def _receive(self, download: Download, partial: BinaryIO, digest: _Digest) -> None:
        """What one connection delivers. Raises the client's errors, ShortBody if the stream ends too early."""
        with self._hub.open(self._snapshot, download.file, digest.n_bytes) as (begin, stream):
            if begin != digest.n_bytes:
                with self._going_on():
                    partial.truncate(0)  # opened for appending, so writing goes on at the new end
                digest.reset()
            for piece in stream:
                with self._going_on():
                    partial.write(piece)
                digest.update(piece)
                self._there[download.file.path] = digest.n_bytes
                if digest.n_bytes > download.file.n_bytes:
                    return
        if digest.n_bytes < download.file.n_bytes:
            raise ShortBody(f"{download.file.path} ended after {digest.n_bytes} of {download.file.n_bytes} bytes")

    def _pause_after(self, error: Exception, failures: int) -> None:
        retries = self._hub.retries
        try:
            seconds, reason = wait_before_retry(error, failures, retries, retries.tries)
        except CLIENT_ERRORS:
            found = self._hub.error(error, self._snapshot.repo, self._snapshot.revision)
            raise type(found)(f"{found}; what has arrived is kept for the next pull") from error
        self._note = reason
        if self._stop.wait(seconds):
            raise _Stopped

    @contextmanager
    def _going_on(self) -> Iterator[None]:
        """What is done in the block is done before the job ends, or not at all."""
        with self._writing:
            self._check_stop()
            yield

    def _check_stop(self) -> None:
        if self._stop.is_set():
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
