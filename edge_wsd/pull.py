"""From a name to a model in the store: fetched ready, or fetched as a checkpoint, converted and checked.

>>> pull("someone/Pilot-3B:Q4_K_M").path
PosixPath('/home/me/.local/share/edge-wsd/models/someone--pilot-3b--q4_k_m/0f1e2d3c4b5a/Pilot-3B-Q4_K_M.gguf')

What arrives waits in the store's staging folder, on the disk where it will stay, until the model is whole. A
checkpoint is deleted as soon as it is converted; files that `hf` has in its cache already are taken from there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edge_wsd.errors import StoreError
from edge_wsd.models.store.disk_space import DiskNeed, disk_need
from edge_wsd.models.store.hub import DEFAULT_REVISION, Hub, Snapshot, WaitReason
from edge_wsd.models.store.hub_errors import HubUnreachable
from edge_wsd.models.store.local import Store, StoredModel
from edge_wsd.models.store.manifest import CONVERTED, Manifest
from edge_wsd.models.store.model_name import DEFAULT_TYPE, HubModel, parse_model_name
from edge_wsd.models.store.repository import ChosenFiles, choose_files
from edge_wsd.staging import CheckpointOptions, PullProgress, Staging, Step

_SHORTEST_COMMIT = 7


@dataclass(frozen=True)
class PullSize:
    """What a pull would do. Sizes in bytes; of a conversion `stored_bytes` and `needed_bytes` are estimates."""

    name: str
    """`owner/repo:TYPE`."""
    made: str
    """READY or CONVERTED, as in the manifest."""
    revision: str
    licence: str | None
    download_bytes: int
    """Still to fetch: not what an earlier, stopped pull has fetched."""
    stored_bytes: int
    needed_bytes: int
    """Most that is needed on the disk at one time, besides what is there now."""
    destination: Path
    in_store: bool


def pull(
    name: str,
    *,
    store: Store | None = None,
    revision: str | None = None,
    token: str | None = None,
    force: bool = False,
    verify: bool = True,
    pre_tokenizer: str | None = None,
    progress: PullProgress | None = None,
    before: Callable[[PullSize], object] | None = None,
    hub: Hub | None = None,
) -> StoredModel:
    """Brings the model called `owner/repo[:TYPE]` into the store; without a type DEFAULT_TYPE.

    A model that is there already is returned without any request, unless `force` or a `revision` (branch, tag or
    commit) that is not the one stored. `verify=False` leaves out the comparison of a converted tokenizer with its
    origin; `pre_tokenizer` is that of `convert`. `progress(step)` is called often, in this thread, and may raise to
    stop; so may `before(size)`, which is told what it will take before anything is fetched. Raises HubError,
    StoreError, ConversionError, VerificationError or ModelFileError with one line; what has arrived by then is kept
    for the next pull.
    """
    store, progress = store or Store(), progress or _silent
    wanted = hub_name(name)
    if not force and (present := stored(store, wanted, revision)) is not None:
        return present
    hub = hub or Hub(token=token)
    options = CheckpointOptions(verify, pre_tokenizer)
    snapshot, choice = _look_up(hub, store, wanted, revision, progress)
    if choice.made == CONVERTED:
        options.require(choice.type)
    target = HubModel(snapshot.repo, choice.type)
    with store.lock(target, waiting=lambda: progress(Step("wait", note="another process is pulling this model"))):
        if not force and (present := _same(stored(store, target, revision), snapshot)) is not None:
            return present  # another process has just pulled it
        staging = Staging(hub, store, snapshot, choice, options, progress)
        staging.clear_old()
        need = disk_need(staging.downloads, snapshot, choice)
        if before is not None:
            before(_size(store, snapshot, choice, need))
        need.require(store, str(target))
        try:
            return staging.run(asked=str(wanted), asked_revision=revision)
        except OSError as error:
            raise store.cannot_write(error) from error


def pull_size(
    name: str,
    *,
    store: Store | None = None,
    revision: str | None = None,
    token: str | None = None,
    progress: PullProgress | None = None,
    hub: Hub | None = None,
) -> PullSize:
    """What `pull(name)` would fetch and write. Asks the hub for names and sizes alone.

    Raises HubError where the model cannot be obtained, for example because its licence was not accepted.
    """
    store, progress = store or Store(), progress or _silent
    wanted = hub_name(name)
    present = stored(store, wanted, revision)
    if present is not None:
        made, licence = present.manifest.made, present.manifest.licence
        commit = present.manifest.revision
        return PullSize(present.name, made, commit, licence, 0, present.n_bytes, 0, present.folder, True)
    hub = hub or Hub(token=token)
    snapshot, choice = _look_up(hub, store, wanted, revision, progress)
    staging = Staging(hub, store, snapshot, choice, CheckpointOptions(), progress)
    return _size(store, snapshot, choice, disk_need(staging.downloads, snapshot, choice))


def _size(store: Store, snapshot: Snapshot, choice: ChosenFiles, need: DiskNeed) -> PullSize:
    return PullSize(
        f"{snapshot.repo}:{choice.type}",
        choice.made,
        snapshot.revision,
        snapshot.licence,
        need.download_bytes,
        need.stored_bytes,
        need.needed_bytes,
        store.folder(snapshot.repo, choice.type),
        False,
    )


def hub_name(name: str) -> HubModel:
    """The repository `name` stands for. Raises StoreError for anything else."""
    wanted = parse_model_name(name)
    if isinstance(wanted, HubModel):
        return wanted
    raise StoreError(f"{name!r} is not a repository of the hub; expected owner/repo or owner/repo:TYPE")


def stored(store: Store, wanted: HubModel, revision: str | None) -> StoredModel | None:
    """The whole model in the store that a pull of this name and revision would bring; None if there is none."""
    candidates = [model for model in store.models() if _is_wanted(model.manifest, wanted)]
    candidates.sort(key=lambda model: model.manifest.type.lower() != DEFAULT_TYPE.lower())
    return next((model for model in candidates if _is_revision(model.manifest, revision)), None)


def _is_wanted(manifest: Manifest, wanted: HubModel) -> bool:
    if manifest.repo.lower() != wanted.repo.lower():
        return False
    if wanted.type is None:  # the default type, or what a pull without a type has brought
        return manifest.type.lower() == DEFAULT_TYPE.lower() or ":" not in manifest.asked
    return manifest.is_called(wanted.type)


def _is_revision(manifest: Manifest, revision: str | None) -> bool:
    if revision is None:
        return True
    if len(revision) >= _SHORTEST_COMMIT and manifest.revision.startswith(revision):
        return True
    return revision == (manifest.asked_revision or DEFAULT_REVISION)


def _same(model: StoredModel | None, snapshot: Snapshot) -> StoredModel | None:
    return model if model is not None and model.manifest.revision == snapshot.revision else None


def _look_up(
    hub: Hub, store: Store, wanted: HubModel, revision: str | None, progress: PullProgress
) -> tuple[Snapshot, ChosenFiles]:
    def tick(stage: WaitReason, note: str) -> None:
        progress(Step(stage, note=note if stage == "wait" else ", ".join(filter(None, (str(wanted), note)))))

    tick("look up", "")
    try:
        snapshot = hub.snapshot(wanted.repo, revision, tick=tick)
    except HubUnreachable as error:
        raise HubUnreachable(f"{error}; {store.contents()}") from error
    return snapshot, choose_files(snapshot, wanted.type)


def _silent(_step: Step) -> None:
    """Shows nothing."""
