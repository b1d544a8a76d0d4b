"""Which files of a repository make up a model: one ready GGUF of a type, or a checkpoint to convert.

>>> choose_files(snapshot, "Q4_K_M").made
'ready GGUF'
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from edge_wsd.errors import HubError
from edge_wsd.models.store.hub import RemoteFile, Snapshot
from edge_wsd.models.store.manifest import CONVERTED, READY
from edge_wsd.models.store.model_name import DEFAULT_TYPE

_PART = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})", re.IGNORECASE)
_TYPE = re.compile(
    r"(?:^|[-._ ])"
    r"(?P<type>(?:UD-)?(?:I?Q\d+(?:_[A-Z0-9]+)*|TQ\d_\d|BF16|FP?16|FP?32|MXFP4(?:_MOE)?|NVFP4))"
    r"(?=$|[-._ ])",
    re.IGNORECASE,
)
_OTHER_NAMES = {"FP16": "F16", "FP32": "F32"}
_PROJECTOR = re.compile(r"mmproj", re.IGNORECASE)
_BESIDE_MODELS = re.compile(r"imatrix|(?:^|[-._])lora(?:[-._]|$)", re.IGNORECASE)
_ADAPTER_TYPES = ("F16", "BF16", "F32")
"""What adapters are stored in; a file of any other type that is called like one is a model."""
_WEIGHTS = re.compile(r"model(?:-\d{5}-of-\d{5})?\.safetensors")
_TEXTS = re.compile(
    r"[^/]+\.(?:json|jinja)|tokenizer\.model|merges\.txt|README\.md|additional_chat_templates/[^/]+\.jinja"
)
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


@dataclass(frozen=True)
class GgufCandidate:
    """A GGUF model in a repository: one file, or all parts of a split one in order."""

    type: str
    """As its name says; the whole name of the file where it says none."""
    stem: str
    files: tuple[RemoteFile, ...]
    n_parts: int

    def missing_part(self) -> int | None:
        """The number of the first part that is not in the repository."""
        if self.n_parts == 1:
            return None
        there = {_part_number(file.path) for file in self.files}
        return next((number for number in range(1, self.n_parts + 1) if number not in there), None)


@dataclass(frozen=True)
class ChosenFiles:
    """What to fetch: for READY the parts of one GGUF in order, for CONVERTED the files of a checkpoint."""

    made: str
    type: str
    files: tuple[RemoteFile, ...]


def choose_files(snapshot: Snapshot, type_name: str | None) -> ChosenFiles:
    """The model of this type; a ready GGUF wins over a checkpoint.

    None is DEFAULT_TYPE, or the one type the repository has. A type may also be the name of a GGUF file. Raises
    HubError that lists what there is, ConversionError for a type that no conversion makes.
    """
    everything = gguf_candidates(snapshot.files, everything=True)
    candidates = gguf_candidates(snapshot.files)
    found = _named(everything, type_name) or _of_type(candidates, type_name or DEFAULT_TYPE)
    if not found and type_name is None and len(candidates) == 1 and not is_checkpoint(snapshot.files):
        found = candidates
    if len(found) > 1:
        stems = ", ".join(f"{snapshot.repo}:{candidate.stem}" for candidate in found)
        raise HubError(f"{snapshot.repo} has {len(found)} files of type {found[0].type}; name the one wanted: {stems}")
    if found:
        return _ready(snapshot, found[0], candidates)
    if is_checkpoint(snapshot.files):
        from edge_wsd.models.gguf.file_types import find_type

        return ChosenFiles(
            CONVERTED, find_type(type_name or DEFAULT_TYPE).name, tuple(checkpoint_files(snapshot.files))
        )
    raise HubError(_nothing(snapshot, candidates, everything, type_name or DEFAULT_TYPE))


def gguf_candidates(files: Iterable[RemoteFile], *, everything: bool = False) -> list[GgufCandidate]:
    """Every language model in GGUF format, by type; with `everything` also what its name says to be something else."""
    groups: dict[tuple[str, int], list[RemoteFile]] = {}
    for file in sorted(files, key=lambda file: file.path):
        path = PurePosixPath(file.path)
        if path.suffix.lower() != ".gguf":
            continue
        part = _PART.fullmatch(path.stem)
        stem, count = (part["stem"], int(part["count"])) if part else (path.stem, 1)
        groups.setdefault((str(path.with_name(stem)), count), []).append(file)
    found = [
        GgufCandidate(type_of(path), PurePosixPath(path).name, tuple(parts), count)
        for (path, count), parts in groups.items()
    ]
    models = (candidate for candidate in found if everything or _is_model(candidate))
    return sorted(models, key=lambda candidate: (candidate.type, candidate.stem))


def _is_model(candidate: GgufCandidate) -> bool:
    """By its name, as a repository is not fetched to look: no projector, matrix or adapter."""
    if _PROJECTOR.search(candidate.stem):
        return False
    quantized = candidate.type not in (candidate.stem, *_ADAPTER_TYPES)
    return quantized or not _BESIDE_MODELS.search(candidate.stem)


def type_of(path: str) -> str:
    """The type a GGUF's path (without `-00001-of-00002` and suffix) names last; the file's name if it names none."""
    pure = PurePosixPath(path)
    for name in (pure.name, pure.parent.name):
        matches = list(_TYPE.finditer(name))
        if matches:
            found = matches[-1]["type"].upper()
            return _OTHER_NAMES.get(found, found)
    return pure.name


def is_checkpoint(files: Iterable[RemoteFile]) -> bool:
    paths = [file.path for file in files]
    return "config.json" in paths and any(_WEIGHTS.fullmatch(path) for path in paths)


def checkpoint_files(files: Iterable[RemoteFile]) -> list[RemoteFile]:
    """What a conversion reads: never pickles, weights in other formats or a second copy of the weights."""
    files = list(files)
    single = any(file.path == "model.safetensors" for file in files)
    weights = [
        file
        for file in files
        if (file.path == "model.safetensors" if single else _WEIGHTS.fullmatch(file.path) is not None)
    ]
    return [*(file for file in files if _TEXTS.fullmatch(file.path)), *weights]


def is_weights(file: RemoteFile) -> bool:
    return file.path.endswith(".safetensors")


def _of_type(candidates: list[GgufCandidate], type_name: str) -> list[GgufCandidate]:
    wanted = type_name.upper()
    wanted = _OTHER_NAMES.get(wanted, wanted)
    return [candidate for candidate in candidates if candidate.type.upper() == wanted]


def _named(candidates: list[GgufCandidate], name: str | None) -> list[GgufCandidate]:
    return [candidate for candidate in candidates if name is not None and candidate.stem.upper() == name.upper()]


def _ready(snapshot: Snapshot, candidate: GgufCandidate, models: list[GgufCandidate]) -> ChosenFiles:
    missing = candidate.missing_part()
    if missing is not None:
        raise HubError(
            f"{snapshot.repo} has only {len(candidate.files)} of {candidate.n_parts} parts of {candidate.stem}: "
            f"part {missing} is missing; choose another type: {_types(gguf_candidates(snapshot.files))}"
        )
    is_known_by_type = [model for model in models if model.type == candidate.type] == [candidate]
    return ChosenFiles(READY, candidate.type if is_known_by_type else candidate.stem, candidate.files)


def _part_number(path: str) -> int:
    part = _PART.fullmatch(PurePosixPath(path).stem)
    return int(part["number"]) if part else 1


def _types(candidates: list[GgufCandidate]) -> str:
    return ", ".join(dict.fromkeys(candidate.type for candidate in candidates))


def _nothing(
    snapshot: Snapshot, candidates: list[GgufCandidate], everything: list[GgufCandidate], type_name: str
) -> str:
    repo = snapshot.repo
    paths = [file.path for file in snapshot.files]
    if candidates:
        return f"{repo} has no GGUF file of type {type_name}; it has {_types(candidates)}"
    if everything:
        stems = ", ".join(candidate.stem for candidate in everything)
        return (
            f"{repo} has no GGUF file that its name says to be a model: {stems} seem to be adapters, projectors or "
            f"matrices; take one nevertheless by its name, as in {repo}:{everything[0].stem}"
        )
    if "adapter_config.json" in paths:
        return f"{repo} is a LoRA adapter, not a model; download it and merge it with `edge-wsd convert BASE --lora`"
    pickle = next((path for path in paths if path.endswith(_PICKLES)), None)
    if pickle is not None:
        return (
            f"{repo} has only pickled weights ({pickle}): loading them runs code of the file, so they are refused; "
            "take a repository with safetensors or GGUF files"
        )
    return f"{repo} holds neither a GGUF model nor a checkpoint (config.json, model*.safetensors); choose another"
