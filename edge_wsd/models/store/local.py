"""The user's models: one folder each, with a manifest that says what is in it.

>>> find_model("Pilot-3B-GGUF")
PosixPath('/home/me/.local/share/edge-wsd/models/someone--pilot-3b-gguf--q4_k_m/0f1e2d3c4b5a/Pilot-3B-Q4_K_M.gguf')

A model is there as soon as its manifest is, which is written last and replaced whole; readers need no lock.
"""

from __future__ import annotations

import difflib
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from edge_wsd.errors import StoreError
from edge_wsd.models.store.in_use import process_that_maps
from edge_wsd.models.store.manifest import FILE_NAME, Manifest, read_manifest
from edge_wsd.models.store.model_name import DEFAULT_TYPE, HubModel, LocalFile, StoreName, parse_model_name
from edge_wsd.user_folders import data_folder

STORE_VARIABLE = "EDGE_WSD_STORE"
_STAGING, _LOCKS, _TRASH = ".staging", ".locks", ".trash"
_LOCK_POLL_S = 0.2
_LISTED = 5
_LONGEST_NAME = 200
_FOLDER = re.compile(r"[a-z0-9_][a-z0-9_.-]*[a-z0-9_]")  # a plain name on every system


@dataclass(frozen=True)
class StoredModel:
    """A model in the store. `folder` holds its manifest and all its files."""

    folder: Path
    manifest: Manifest

    @property
    def name(self) -> str:
        """`owner/repo:TYPE`."""
        return self.manifest.name

    @property
    def paths(self) -> tuple[Path, ...]:
        """Its GGUF files, the parts of a split model in order."""
        return tuple(self.folder / file.name for file in self.manifest.files)

    @property
    def path(self) -> Path:
        """The file to load: the first."""
        return self.paths[0]

    @property
    def n_bytes(self) -> int:
        return self.manifest.n_bytes


@dataclass(frozen=True)
class Unfinished:
    """What a stopped pull left; the next pull of the same model goes on from there."""

    name: str
    n_bytes: int


def store_root() -> Path:
    """`$EDGE_WSD_STORE`, else `models` in the user's data folder. Raises StoreError for a user without any."""
    try:
        if given := os.environ.get(STORE_VARIABLE):
            return Path(given).expanduser().absolute()
        return data_folder() / "models"
    except RuntimeError as error:  # services and containers may run users without a home
        raise StoreError(f"there is no folder for the store: {error}; set HOME, or {STORE_VARIABLE}") from None


def folder_name(repo: str, type_name: str) -> str:
    """The same for names that differ in case alone, and a plain file name on every system."""
    name = f"{repo.replace('/', '--')}--{type_name}".lower()
    if not _FOLDER.fullmatch(name) or len(name) > _LONGEST_NAME:
        raise StoreError(
            f"{repo}:{type_name} cannot be the name of a folder; expected owner/repo:TYPE, shorter than {_LONGEST_NAME}"
        )
    return name


class Store:
    """All models below `root` (None: `store_root()`), which is made when something is stored."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = store_root() if root is None else root

    def models(self) -> list[StoredModel]:
        """Every model that is whole, by name."""
        return self.survey()[0]

    def survey(self) -> tuple[list[StoredModel], list[str]]:
        """Every model that is whole, by name, and one line for each that is damaged."""
        models: list[StoredModel] = []
        problems: list[str] = []
        for folder in self._folders(self.root):
            try:
                models.append(self._open(folder))
            except StoreError as error:
                problems.append(str(error))
        return sorted(models, key=lambda model: (model.manifest.repo.lower(), model.manifest.type)), problems

    def unfinished(self) -> list[Unfinished]:
        """What stopped pulls left."""
        found = []
        for folder in self._folders(self.root / _STAGING):
            sizes = [_size(path) for path in folder.rglob("*")]
            found.append(Unfinished(_name_of(folder.name), sum(sizes)))
        return found

    def find(self, name: str) -> StoredModel | None:
        """The model of this name: `owner/repo:TYPE` or `repo:TYPE`, in any case of letters.

        Without a type it is the only one of its repository, else the one of type DEFAULT_TYPE. Raises
        StoreError if several fit or the one meant is damaged.
        """
        wanted = parse_model_name(name)
        if isinstance(wanted, LocalFile):
            return None
        if isinstance(wanted, HubModel) and wanted.type is not None:
            folder = self.folder(wanted.repo, wanted.type)
            if folder.is_dir():
                return self._open(folder)
        fitting = [model for model in self.models() if _fits(model.manifest, wanted)]
        return _only(fitting, wanted)

    def folder(self, repo: str, type_name: str) -> Path:
        """Where this model is kept, if it is."""
        return self.root / folder_name(repo, type_name)

    def staging(self, repo: str, type_name: str) -> Path:
        """Where it is put together, on the same disk. Use it under the model's lock only."""
        return self.root / _STAGING / folder_name(repo, type_name)

    def contents(self) -> str:
        """What there is, as a part of a message."""
        names = [model.name for model in self.models()]
        more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
        return f"the store has {', '.join(names[:_LISTED])}{more}" if names else "the store is empty"

    def explain_missing(self, wanted: HubModel | StoreName) -> str:
        """One line for a model that is not in the store: what there is, how to get it, what may have been meant."""
        type_name = wanted.type or DEFAULT_TYPE
        if isinstance(wanted, HubModel):
            line = f"{wanted} is not in the store; fetch it with `edge-wsd pull {wanted.repo}:{type_name}`"
        else:
            line = f"there is no file and no model in the store named {str(wanted)!r}"
        close = self._close_names(wanted)
        if close:
            return f"{line}; did you mean {' or '.join(close)}?"
        if isinstance(wanted, StoreName):
            line += f"; {self.contents()}, and `edge-wsd pull OWNER/REPO:{type_name}` fetches from the hub"
        return line

    @contextmanager
    def lock(self, name: HubModel, *, waiting: Callable[[], None] | None = None) -> Iterator[None]:
        """Holds off every other process that would change this model (a name with its type).

        `waiting()` is called again and again while another process holds it, and may raise to give up. Raises
        StoreError if the store cannot be written.
        """
        if name.type is None:
            raise StoreError(f"{name} has no type; expected owner/repo:TYPE")
        folder = self.root / _LOCKS
        lock = FileLock(folder / f"{folder_name(name.repo, name.type)}.lock")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._acquire(lock, waiting)
        except (OSError, NotImplementedError) as error:  # NotImplementedError: the file system has no locks
            raise self.cannot_write(error) from error
        try:
            yield
        finally:
            lock.release()

    @staticmethod
    def _acquire(lock: FileLock, waiting: Callable[[], None] | None) -> None:
        timeout = 0.0
        while True:
            try:
                lock.acquire(timeout=timeout)
                return
            except Timeout:
                timeout = _LOCK_POLL_S
                if waiting is not None:
                    waiting()

    def cannot_write(self, error: OSError | NotImplementedError) -> StoreError:
        """What to tell when writing below `root` fails."""
        reason = getattr(error, "strerror", None) or error
        return StoreError(
            f"the store {self.root} cannot be written: {reason}; free space or fix its permissions, "
            f"or set {STORE_VARIABLE} to another folder"
        )

    def remove(self, name: str) -> int:
        """Deletes a model, damaged ones and what an unfinished pull left included. Returns the bytes freed.

        Raises StoreError if there is none, several fit, or another process uses it (as far as can be seen).
        """
        wanted = self.removable(name)
        folders = [self.folder(wanted.repo, wanted.type or ""), self.staging(wanted.repo, wanted.type or "")]

        def in_use() -> None:
            raise StoreError(f"{wanted} is being pulled by another process; wait for it or stop it first")

        with self.lock(wanted, waiting=in_use):
            user = process_that_maps(self._files(wanted))
            if user is not None:
                raise StoreError(f"{wanted} is in use by process {user}; end it first")
            freed = self.bytes_of(wanted)
            for folder in folders:
                if folder.exists():
                    self.discard(folder)
        return freed

    def removable(self, name: str) -> HubModel:
        """The model, with its type, that `remove(name)` would delete. Raises StoreError if there is none."""
        wanted = parse_model_name(name)
        if isinstance(wanted, LocalFile):
            raise StoreError(f"{name} is a file, not a model of the store; delete it yourself")
        if isinstance(wanted, HubModel) and wanted.type is not None:
            folders = (self.folder(wanted.repo, wanted.type), self.staging(wanted.repo, wanted.type))
            if any(folder.is_dir() for folder in folders):
                return wanted
        model = self.find(name)
        if model is None:
            close = self._close_names(wanted)
            hint = f"did you mean {' or '.join(close)}?" if close else self.contents()
            raise StoreError(f"there is no model {str(wanted)!r} in the store to remove; {hint}")
        return HubModel(model.manifest.repo, model.manifest.type)

    def bytes_of(self, name: HubModel) -> int:
        """Bytes of all that is kept of a model (a name with its type), whole or not."""
        return sum(_size(path) for path in self._files(name))

    def _files(self, name: HubModel) -> list[Path]:
        type_name = name.type or ""
        folders = (self.folder(name.repo, type_name), self.staging(name.repo, type_name))
        return [path for folder in folders for path in folder.rglob("*")]

    def discard(self, folder: Path) -> None:
        """Deletes a folder of the store; it is gone from sight at once, even if deleting is cut short."""
        doomed = self.root / f"{_TRASH}-{uuid.uuid4().hex}"
        try:
            doomed.mkdir()
            folder.rename(doomed / folder.name)
        except OSError as error:
            raise StoreError(
                f"{folder} cannot be deleted: {error.strerror or error}; is a program using it?"
            ) from error
        for trash in self.root.glob(f"{_TRASH}-*"):
            shutil.rmtree(trash, ignore_errors=True)  # what another process deletes too, or cannot go yet, goes later

    def _folders(self, parent: Path) -> list[Path]:
        try:
            return sorted(path for path in parent.iterdir() if path.is_dir() and not path.name.startswith("."))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise StoreError(f"the store {self.root} cannot be read: {error.strerror or error}") from error

    def _open(self, folder: Path) -> StoredModel:
        """The model in `folder`, whose files are there in full size. Raises StoreError that names it."""
        name = _name_of(folder.name)
        try:
            model = StoredModel(folder, read_manifest(folder / FILE_NAME))
            if folder_name(model.manifest.repo, model.manifest.type) != folder.name:
                raise StoreError(f"its {FILE_NAME} is that of {model.name}")
            name = model.name
            for file, path in zip(model.manifest.files, model.paths, strict=True):
                if not path.is_file() or path.stat().st_size != file.n_bytes:
                    raise StoreError(f"its file {file.name} is missing or not {file.n_bytes} bytes long")
        except StoreError as error:
            raise StoreError(
                f"{name} in the store is damaged: {error}; `edge-wsd pull {name}` fetches it again, "
                f"`edge-wsd models rm {name}` removes it"
            ) from None
        return model

    def _close_names(self, wanted: HubModel | StoreName) -> list[str]:
        full = {model.name.lower(): model.name for model in self.models()}
        short = {name.partition("/")[2]: original for name, original in full.items()}
        known = full if isinstance(wanted, HubModel) else short
        found = difflib.get_close_matches(str(wanted).lower(), known, n=3, cutoff=0.6)
        same_repo = [name for name in known if name.startswith(f"{str(wanted).lower().partition(':')[0]}:")]
        return list(dict.fromkeys(known[name] for name in (*same_repo, *found)))


def _fits(manifest: Manifest, wanted: HubModel | StoreName) -> bool:
    if isinstance(wanted, HubModel):
        same = manifest.repo.lower() == wanted.repo.lower()
    else:
        same = manifest.repo.lower().partition("/")[2] == wanted.name.lower()
    return same and (wanted.type is None or manifest.is_called(wanted.type))


def _only(models: list[StoredModel], wanted: HubModel | StoreName) -> StoredModel | None:
    """The one model meant; with no type named and one repository, the default type is meant."""
    if len(models) > 1 and len({model.manifest.repo.lower() for model in models}) == 1:
        models = [model for model in models if model.manifest.type.lower() == DEFAULT_TYPE.lower()] or models
    if len(models) > 1:
        names = ", ".join(model.name for model in models)
        raise StoreError(f"several models in the store are named {str(wanted)!r}: {names}; give the name in full")
    return models[0] if models else None


def _name_of(folder: str) -> str:
    """`owner/repo:type` of a folder's name, in lower case; the folder's name where it is none of ours."""
    parts = folder.split("--")
    return f"{parts[0]}/{parts[1]}:{parts[2]}" if len(parts) == 3 else folder


def _size(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:  # deleted meanwhile
        return 0


def find_model(text: str, store: Store | None = None) -> Path:
    """The GGUF file (of a split model the first) that `text` names: a path, or a model that is in `store`.

    Nothing is downloaded; the path of a local file is returned as it is, whether or not it exists. Raises
    StoreError if the store has no such model or several, and says how to get or how to name it.
    """
    name = parse_model_name(text)
    if isinstance(name, LocalFile):
        return name.path
    store = store or Store()
    model = store.find(text)
    if model is None:
        raise StoreError(store.explain_missing(name))
    return model.path
