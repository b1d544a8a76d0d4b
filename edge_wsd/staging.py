"""One model on its way into the store: fetched, made into GGUF, checked, then moved to its place at once."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

from edge_wsd import __version__
from edge_wsd.errors import ConversionError, ModelFileError, VerificationError
from edge_wsd.files import write_atomically
from edge_wsd.models.gguf.check import check_gguf
from edge_wsd.models.store.hub import Hub, Snapshot
from edge_wsd.models.store.local import Store, StoredModel
from edge_wsd.models.store.manifest import FILE_NAME, READY, Manifest, StoredFile
from edge_wsd.models.store.repository import ChosenFiles, is_weights
from edge_wsd.models.store.transfer import downloads, fetch

_READ_BYTES = 1 << 20
_SHORT_COMMIT = 12


@dataclass(frozen=True)
class Step:
    """What a pull is doing. `done` and `total` count bytes, of "verify" texts; `total` None: not known."""

    stage: Literal["look up", "wait", "download", "convert", "verify", "check"]
    done: int = 0
    total: int | None = None
    note: str = ""


PullProgress = Callable[[Step], None]


@dataclass(frozen=True)
class CheckpointOptions:
    """How a checkpoint is converted."""

    verify: bool = True
    pre_tokenizer: str | None = None

    def require(self, type_name: str) -> None:
        """Raises ConversionError, before anything is fetched, if this cannot be done here."""
        from edge_wsd.models.gguf.file_types import find_type

        if find_type(type_name).imatrix == "required":
            raise ConversionError(
                f"type {type_name} needs an importance matrix: pull the model as F16, then use `edge-wsd imatrix` "
                f"and `edge-wsd quantize --imatrix`; or pull a repository that has a ready GGUF of type {type_name}"
            )
        missing = [name for name in ("transformers", "sentencepiece") if importlib.util.find_spec(name) is None]
        if self.verify and missing:
            raise ConversionError(
                f"checking a conversion needs {' and '.join(missing)}: pip install 'edge-wsd[convert]', "
                "or pull without the check (--no-verify)"
            )


class Staging:
    """The pull of one model; use it under the model's lock."""

    def __init__(
        self,
        hub: Hub,
        store: Store,
        snapshot: Snapshot,
        choice: ChosenFiles,
        options: CheckpointOptions,
        progress: PullProgress,
    ) -> None:
        self._hub, self._store, self._snapshot = hub, store, snapshot
        self._choice, self._options, self._progress = choice, options, progress
        self._name = f"{snapshot.repo}:{choice.type}"
        self.folder = store.staging(snapshot.repo, choice.type)
        self._commit = self.folder / snapshot.revision[:_SHORT_COMMIT]
        self._fetched = self._commit / snapshot.repo.partition("/")[2]  # a checkpoint is called as its folder is
        self._made = self.folder / "made"
        self._notes: tuple[str, ...] = ()
        self.downloads = downloads(snapshot, choice.files, self._fetched)

    def clear_old(self) -> None:
        """Drops what an earlier pull left of another commit, or of a conversion that was cut short."""
        if self.folder.is_dir():
            for entry in self.folder.iterdir():
                if entry != self._commit:
                    self._store.discard(entry)

    def run(self, *, asked: str, asked_revision: str | None) -> StoredModel:
        """All of it. Raises what `pull` raises, and OSError of the disk."""
        if self._choice.made == READY:
            files, agreement = self._fetch_ready(), None
        else:
            files, agreement = self._convert()
        manifest = Manifest(
            repo=self._snapshot.repo,
            type=self._choice.type,
            revision=self._snapshot.revision,
            asked=asked,
            asked_revision=asked_revision,
            licence=self._snapshot.licence,
            made=self._choice.made,
            files=tuple(files),
            created=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
            endpoint=self._hub.endpoint,
            edge_wsd=__version__,
            tokenizer_texts=agreement[0] if agreement else None,
            tokenizer_equal=agreement[1] if agreement else None,
            notes=self._notes,
        )
        return self._move_in(manifest)

    def _fetch(self, *, first: bool = False) -> None:
        """Files of the model; with `first` the small ones, which tell whether the rest is worth fetching."""
        self._fetched.mkdir(parents=True, exist_ok=True)
        now = [download for download in self.downloads if not first or not is_weights(download.file)]

        def show(done: int, total: int, note: str) -> None:
            self._progress(Step("download", done, total, note))

        fetch(self._hub, self._snapshot, self.downloads, show, now=now)

    def _fetch_ready(self) -> list[StoredFile]:
        self._fetch()
        try:
            check_gguf(self.downloads[0].target)
        except ModelFileError as error:
            self._store.discard(self.folder)
            defect = str(error).replace(f"{self._fetched}/", "")
            raise ModelFileError(f"{self._name} cannot be used and was not stored: {defect}") from error
        files = []
        for download in self.downloads:
            digest = download.file.sha256 or self._sha256(download.target)
            files.append(StoredFile(download.target.name, download.file.n_bytes, digest, download.file.path))
        self._made.mkdir(exist_ok=True)
        for download in self.downloads:  # parts of a split model lie in one folder, so no two have the same name
            download.target.rename(self._made / download.target.name)
        return files

    def _convert(self) -> tuple[list[StoredFile], tuple[int, int] | None]:
        """Converts the checkpoint. On failure it is kept, as another pre-tokenizer may be all it needs."""
        from edge_wsd.converters import convert
        from edge_wsd.converters.early import refuse_early

        target = self._made / f"{self._snapshot.repo.partition('/')[2]}-{self._choice.type}.gguf"
        try:
            self._fetch(first=True)
            refuse_early(self._fetched, self._options.pre_tokenizer, self._snapshot.weight_types)
            self._fetch()
            self._made.mkdir(exist_ok=True)
            self._notes = convert(
                self._fetched,
                target,
                type=self._choice.type,
                pre_tokenizer=self._options.pre_tokenizer,
                progress=lambda done, total: self._progress(Step("convert", done, total)),
            ).notes
            agreement = self._verify(target) if self._options.verify else None
        except (ConversionError, VerificationError) as error:
            raise type(error)(
                f"{self._name}: {error}; nothing was stored, the checkpoint is kept for the next pull "
                f"(`edge-wsd models rm {self._name}` drops it)"
            ) from error
        digest = self._sha256(target)
        return [StoredFile(target.name, target.stat().st_size, digest)], agreement

    def _verify(self, gguf: Path) -> tuple[int, int]:
        """Texts compared, and texts split alike. Raises VerificationError if too few are."""
        from edge_wsd.converters.verification.tokenizer_agreement import tokenizer_agreement

        found = tokenizer_agreement(
            self._fetched, gguf, progress=lambda done, total: self._progress(Step("verify", done, total))
        )
        if not found.holds:
            raise VerificationError(f"its tokenizer differs from the checkpoint's: {found}; try --pre-tokenizer NAME")
        return found.n_texts, found.n_alike

    def _sha256(self, path: Path) -> str:
        digest, done, total = hashlib.sha256(), 0, path.stat().st_size
        with path.open("rb") as file:
            while piece := file.read(_READ_BYTES):
                digest.update(piece)
                done += len(piece)
                self._progress(Step("check", done, total))
        return digest.hexdigest()

    def _move_in(self, manifest: Manifest) -> StoredModel:
        """The model replaces what the store had of this name, in one moment: when the manifest is written."""
        folder = self._store.folder(manifest.repo, manifest.type)
        folder.mkdir(parents=True, exist_ok=True)
        before = [entry for entry in folder.iterdir() if entry.is_dir()]
        generation = _free_name(folder, manifest.revision[:_SHORT_COMMIT])
        self._made.rename(folder / generation)
        files = tuple(
            StoredFile(f"{generation}/{file.name}", file.n_bytes, file.sha256, file.origin) for file in manifest.files
        )
        manifest = Manifest(**{**vars(manifest), "files": files})
        write_atomically(folder / FILE_NAME, manifest.to_json())
        for entry in (*before, self.folder):
            self._store.discard(entry)
        return StoredModel(folder, manifest)


def _free_name(folder: Path, wanted: str) -> str:
    """`wanted`, or with the first number that makes it new."""
    names = (wanted if number == 1 else f"{wanted}-{number}" for number in range(1, 1 << 20))
    return next(name for name in names if not (folder / name).exists())
