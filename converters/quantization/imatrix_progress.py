"""How far the measuring of an importance matrix has come, kept on disk so that a run that ends early goes on.

The file lies beside the matrix to be, is replaced whole from time to time and removed once the matrix is written. It
is taken up only by a run over the same model, weights and settings, whose text begins with what was read already.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np

from edge_wsd.errors import QuantizationError
from edge_wsd.files import behind_links, replacing
from edge_wsd.llama.tools.tap import Sums
from edge_wsd.reading import open_regular, parse_json
from edge_wsd.redaction import logger_without_secrets

_LOG = logger_without_secrets(__name__)
_FORMAT = 1
_MOST_HEADER_BYTES = 64 << 20
_MOST_GROUPS, _MOST_COLUMNS = 1 << 16, 1 << 24
_SHARE_OF_TIME = 0.05
"""Of a run that writing may take."""


@dataclass
class Measured:
    """What the first `n_chunks` chunks have added up to. `loss` is the sum of `n_losses` negative log-probabilities."""

    n_chunks: int = 0
    loss: float = 0.0
    n_losses: int = 0
    sums: dict[str, Sums] = field(default_factory=dict)


def progress_path(target: str | Path) -> Path:
    """Where a run that makes `target` keeps its progress. Raises OSError for what can be no target."""
    place = behind_links(Path(target))
    return place.with_name(f".imatrix-{hashlib.sha256(place.name.encode(errors='replace')).hexdigest()[:16]}.progress")


class Keeper:
    """The file at `path` for one run: `identity` says of what, `chunks` are the tokens it reads."""

    def __init__(self, path: Path, identity: str, chunks: Sequence[Sequence[int]]) -> None:
        self._path, self._identity, self._chunks = path, identity, chunks
        self._written = self._took = 0.0

    def taken_up(self) -> Measured:
        """What an earlier run of the same has measured; nothing if there is none, or it was another."""
        try:
            with open_regular(self._path) as file:
                return self._read(file)
        except FileNotFoundError:
            return Measured()
        except (OSError, ValueError, KeyError, TypeError) as error:
            _LOG.warning("%s is not taken up: %s", self._path, error)
            return Measured()

    def keep(self, measured: Measured, *, now: bool = False) -> None:
        """Writes it if the last time is long enough ago, or `now`. Raises QuantizationError; what was kept stays."""
        began = time.monotonic()
        if not now and began - self._written < self._took / _SHARE_OF_TIME:
            return
        header = {
            "format": _FORMAT,
            "identity": self._identity,
            "read": self._read_so_far(measured.n_chunks),
            "n_chunks": measured.n_chunks,
            "loss": measured.loss,
            "n_losses": measured.n_losses,
            "tensors": [[name, *sums.values.shape, len(sums.counts)] for name, sums in measured.sums.items()],
        }
        try:
            with replacing(self._path) as file:
                file.write(json.dumps(header).encode() + b"\n")
                for sums in measured.sums.values():
                    file.write(np.ascontiguousarray(sums.values, "<f8").tobytes())
                    file.write(np.ascontiguousarray(sums.counts, "<i8").tobytes())
        except OSError as error:
            raise QuantizationError(
                f"{self._path}: cannot be written: {error.strerror or error}; what was measured before is kept: "
                "make room and run the same command again"
            ) from error
        self._written = time.monotonic()
        self._took = self._written - began

    def _read(self, file: BinaryIO) -> Measured:
        header = parse_json(file.readline(_MOST_HEADER_BYTES))
        if header["format"] != _FORMAT or header["identity"] != self._identity:
            raise ValueError("it is of another model, or measured with other settings")
        n_chunks, n_losses, loss = int(header["n_chunks"]), int(header["n_losses"]), float(header["loss"])
        if not 0 < n_chunks <= len(self._chunks) or header["read"] != self._read_so_far(n_chunks):
            raise ValueError("it is of another text")
        sums = {str(name): _sums(file, *map(int, shape)) for name, *shape in header["tensors"]}
        if file.read(1) or not np.isfinite(loss):
            raise ValueError("it is damaged")
        return Measured(n_chunks, loss, n_losses, sums)

    def _read_so_far(self, n_chunks: int) -> str:
        digest = hashlib.sha256()
        for chunk in self._chunks[:n_chunks]:
            digest.update(np.asarray(chunk, "<i4").tobytes())
        return digest.hexdigest()


def identity_of(files: Iterable[Path], settings: Mapping[str, object]) -> str:
    """What a run is of: the files of a model as they are now, and everything else that changes what is measured."""
    stats = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return hashlib.sha256(json.dumps([stats, settings], sort_keys=True).encode()).hexdigest()


def _sums(file: BinaryIO, n_groups: int, n_columns: int, n_counts: int) -> Sums:
    if not (0 < n_groups <= _MOST_GROUPS and 0 < n_columns <= _MOST_COLUMNS and 0 < n_counts <= _MOST_GROUPS):
        raise ValueError("it is damaged")
    values = np.frombuffer(_exactly(file, 8 * n_groups * n_columns), "<f8").reshape(n_groups, n_columns).copy()
    counts = np.frombuffer(_exactly(file, 8 * n_counts), "<i8").astype(np.int64)
    if not np.isfinite(values).all() or values.min() < 0 or counts.min() < 0:
        raise ValueError("it is damaged")
    return Sums(values, counts)


def _exactly(file: BinaryIO, n_bytes: int) -> bytes:
    if n_bytes > os.fstat(file.fileno()).st_size - file.tell():
        raise ValueError("it is cut off")
    return file.read(n_bytes)
