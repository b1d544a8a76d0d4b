"""How much of a disk a pull needs, and whether there is that much.

>>> disk_need(downloads, snapshot, choice).require(store, "someone/Pilot-3B:Q4_K_M")
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_wsd.errors import StoreError
from edge_wsd.models.store.hub import Snapshot
from edge_wsd.models.store.local import STORE_VARIABLE, Store
from edge_wsd.models.store.manifest import READY
from edge_wsd.models.store.repository import ChosenFiles, is_weights
from edge_wsd.models.store.transfer import Download
from edge_wsd.units import gib

_SPARE_BYTES = 64 << 20
"""Left free, for vocabulary and metadata that the estimates below do not count, and for everybody else."""
_HALF = 2
"""Bytes of a weight that is stored in 16 bits, as nearly all published checkpoints are."""


@dataclass(frozen=True)
class DiskNeed:
    """Bytes. `stored_bytes` and `scratch_bytes` of a conversion are estimates."""

    download_bytes: int
    """Still to fetch."""
    stored_bytes: int
    """What stays, the same as what is fetched where that is a ready GGUF."""
    scratch_bytes: int
    """Written while converting and deleted afterwards, besides the checkpoint itself."""
    needed_bytes: int
    """Most that is written at one time, besides what is there now."""

    def require(self, store: Store, name: str) -> None:
        """Raises StoreError if the disk has less than this free."""
        free = free_bytes(store.root)
        if free < self.needed_bytes + _SPARE_BYTES:
            raise StoreError(
                f"{name} needs {gib(self.needed_bytes)} on the disk of {store.root} ({gib(self.download_bytes)} to "
                f"fetch), {gib(free)} are free; free space, or set {STORE_VARIABLE} to a folder on another disk"
            )


def disk_need(downloads: Sequence[Download], snapshot: Snapshot, choice: ChosenFiles) -> DiskNeed:
    """What fetching and converting `choice` takes, less what is there already."""
    fetched = sum(each.file.n_bytes - each.n_bytes_there() for each in downloads)
    if choice.made == READY:
        return DiskNeed(fetched, sum(file.n_bytes for file in choice.files), 0, fetched)
    from edge_wsd.models.gguf.file_types import find_type

    kind = find_type(choice.type)
    n_weights = snapshot.n_parameters or sum(file.n_bytes for file in choice.files if is_weights(file)) // _HALF
    stored = int(n_weights * kind.bits_per_weight / 8)
    scratch = 0 if kind.is_direct else n_weights * _HALF
    return DiskNeed(fetched, stored, scratch, fetched + stored + scratch)


def free_bytes(folder: Path) -> int:
    """Free space where `folder` is, or will be. Raises StoreError."""
    existing = next(path for path in (folder, *folder.parents) if path.is_dir())
    try:
        return shutil.disk_usage(existing).free
    except OSError as error:
        raise StoreError(f"the free space of {folder} cannot be determined: {error.strerror or error}") from error
