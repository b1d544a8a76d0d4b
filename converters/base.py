"""What every model family shares: the plan of a file's tensors and the check of a checkpoint against it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import gguf
import numpy as np
import numpy.typing as npt

from edge_wsd.errors import ConversionError

from .checkpoint import Checkpoint
from .config import Config
from .safetensors_file import StoredTensor

Arrange = Callable[[npt.NDArray[Any]], npt.NDArray[Any]]
Compute = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]


@dataclass(frozen=True)
class Weight:
    """One tensor a family expects in a checkpoint.

    `arrange` moves stored values to their places and keeps the shape (it never computes, so BF16 passes as
    integers); `compute` changes values, a block of rows at a time.
    """

    name: str
    shape: tuple[int, ...]
    arrange: Arrange | None = None
    compute: Compute | None = None


@dataclass(frozen=True)
class Planned:
    """One tensor of the GGUF file: taken from the checkpoint (`source`, `weight`) or made here (`values`)."""

    name: str
    shape: tuple[int, ...]
    weight: Weight | None = None
    source: StoredTensor | None = None
    values: npt.NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Conversion:
    """What a conversion wrote. `types` counts tensors by stored type; `notes` are for the user to read."""

    target: Path
    architecture: str
    n_tensors: int
    n_bytes: int
    types: Mapping[str, int]
    notes: tuple[str, ...]


class Family(Protocol):
    """A model family: what differs from checkpoint to GGUF. Implementations hold no state but the config."""

    architecture: str
    n_vocab: int
    n_blocks: int

    def __init__(self, config: Config) -> None: ...

    def weights(self) -> Iterable[Weight]:
        """Every tensor the checkpoint must hold, in the order of the file."""
        ...

    def made_here(self) -> Mapping[str, npt.NDArray[np.float32]]:
        """Tensors that follow from the config alone, by GGUF name."""
        ...

    def is_ignored(self, name: str) -> bool:
        """Whether a tensor of the checkpoint carries nothing (a buffer that is computed anew)."""
        ...

    def copies(self) -> Mapping[str, str]:
        """Tensors that may repeat another one of the checkpoint, value by value, and are then left out."""
        ...

    def describe(self, writer: Any) -> None:
        """Writes the hyperparameters as metadata."""
        ...


def plan_tensors(checkpoint: Checkpoint, family: Family) -> list[Planned]:
    """The tensors of the GGUF file in order. Raises ConversionError unless checkpoint and family agree."""
    names = gguf.get_tensor_name_map(_architecture_id(family.architecture), family.n_blocks)
    left = dict(checkpoint.tensors)
    plan = [Planned(name, values.shape, values=values) for name, values in family.made_here().items()]
    for weight in family.weights():
        source = left.pop(weight.name, None)
        if source is None:
            raise ConversionError(f"tensor {weight.name!r} is missing from the checkpoint")
        if source.shape != weight.shape:
            raise ConversionError(
                f"tensor {weight.name!r} has shape {list(source.shape)}, config.json makes it {list(weight.shape)}"
            )
        target = names.get_name(weight.name, try_suffixes=(".weight", ".bias"))
        if target is None:
            raise ConversionError(f"tensor {weight.name!r} has no place in a GGUF of {family.architecture}")
        plan.append(Planned(target, weight.shape, weight=weight, source=source))
    for name, original in family.copies().items():
        copy = left.pop(name, None)
        if copy is not None and not _same_values(copy, checkpoint.tensors[original]):
            raise ConversionError(f"tensor {name!r} differs from {original!r}, but config.json ties the two")
    _refuse_leftovers(left, family)
    return plan


def _same_values(first: StoredTensor, second: StoredTensor) -> bool:
    return first.dtype == second.dtype and np.array_equal(first.open(), second.open())


def _refuse_leftovers(left: Mapping[str, StoredTensor], family: Family) -> None:
    extra = sorted(name for name in left if not family.is_ignored(name))
    if extra:
        raise ConversionError(
            f"the checkpoint holds {len(extra)} tensor(s) that a {family.architecture} model does not use, "
            f"first {extra[0]!r}; converting would lose them"
        )


def _architecture_id(architecture: str) -> Any:
    return next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
