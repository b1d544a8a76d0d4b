"""What every model family shares: the plan of a file's tensors and the check of a checkpoint against it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import gguf
import numpy as np
import numpy.typing as npt

from edge_wsd.errors import ConversionError

from ..checkpoint.config import Config
from ..checkpoint.low_rank import LowRank
from ..checkpoint.safetensors_file import StoredTensor

Arrange = Callable[[npt.NDArray[Any]], npt.NDArray[Any]]
Compute = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]


@dataclass(frozen=True)
class Weight:
    """One tensor a family expects in a checkpoint.

    `arrange` moves whole rows to their places and keeps the shape (it never computes, so BF16 passes as
    integers); `compute` changes values, a block of rows at a time.
    """

    name: str
    shape: tuple[int, ...]
    arrange: Arrange | None = None
    compute: Compute | None = None


@dataclass(frozen=True)
class Planned:
    """One tensor of the GGUF file: taken from the checkpoint (`source`, `weight`) or made here (`values`).

    `updates` are added to the stored values before they are arranged and computed with.
    """

    name: str
    shape: tuple[int, ...]
    weight: Weight | None = None
    source: StoredTensor | None = None
    values: npt.NDArray[np.float32] | None = None
    updates: tuple[LowRank, ...] = ()


@dataclass(frozen=True)
class ConversionPlan:
    """The tensors of the file in order, and what the user should know about how they were chosen."""

    tensors: list[Planned]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Conversion:
    """What a conversion wrote. `types` counts tensors by stored type; `notes` are for the user to read.

    `bits_per_weight` is that of the tensors alone, without the vocabulary.
    """

    target: Path
    architecture: str
    n_tensors: int
    n_bytes: int
    bits_per_weight: float
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

    def known_as(self, name: str) -> str:
        """The name that `weights` has for the checkpoint's tensor `name`, which may be another version's."""
        ...

    def is_ignored(self, name: str) -> bool:
        """Whether a tensor of the checkpoint carries nothing (a buffer that is computed anew)."""
        ...

    def is_left_out(self, name: str) -> bool:
        """Whether a tensor of the checkpoint is knowingly left out, as no part of the language model."""
        ...

    def copies(self) -> Mapping[str, str]:
        """Tensors that may repeat another one of the checkpoint, value by value, and are then left out."""
        ...

    def can_separate(self, copy: str) -> bool:
        """Whether the file may hold a copy as a tensor of its own, should an adapter make it differ."""
        ...

    def describe(self, writer: Any) -> None:
        """Writes the hyperparameters as metadata."""
        ...

    def notes(self) -> Sequence[str]:
        """Where llama.cpp computes something else than transformers, and from when on."""
        ...


class Adapter(Protocol):
    """Changes to the weights of a checkpoint, by the names that its family has for them."""

    def touches(self, name: str) -> bool: ...

    def replaced(self, weight: Weight) -> StoredTensor | None:
        """The tensor that takes the place of the checkpoint's. Raises ConversionError for a wrong shape."""
        ...

    def update(self, weight: Weight) -> LowRank | None:
        """What is added to the checkpoint's values. Raises ConversionError for a wrong shape."""
        ...

    def keeps_tied(self) -> bool:
        """Whether what is done to the embedding holds for an output tied to it as well."""
        ...

    def require_used(self, names: Iterable[str]) -> None:
        """Raises ConversionError when the adapter changes something beyond `names`."""
        ...


class Tensors:
    """The checkpoint's tensors by their family's names; keeps count of those that were used."""

    def __init__(self, stored: Mapping[str, StoredTensor], family: Family) -> None:
        self._stored: dict[str, StoredTensor] = {}
        for name, tensor in stored.items():
            known = family.known_as(name)
            if known in self._stored:
                raise ConversionError(f"the checkpoint holds tensor {known!r} twice, once as {name!r}")
            self._stored[known] = tensor
        self.left = set(self._stored)

    def take(self, name: str) -> StoredTensor:
        tensor = self._stored.get(name)
        if tensor is None:
            raise ConversionError(f"tensor {name!r} is missing from the checkpoint")
        self.left.discard(name)
        return tensor


def plan_tensors(
    stored: Mapping[str, StoredTensor], family: Family, adapters: Sequence[Adapter] = ()
) -> ConversionPlan:
    """The tensors of the GGUF file in order. Raises ConversionError unless checkpoint and family agree."""
    names = gguf.get_tensor_name_map(_architecture_id(family.architecture), family.n_blocks)
    tensors = Tensors(stored, family)
    weights = list(family.weights())
    plan = [Planned(name, values.shape, values=values) for name, values in family.made_here().items()]
    for weight in weights:
        plan.append(_planned(weight, tensors.take(weight.name), names, family, adapters))
    for copy, original in family.copies().items():
        weight = next(weight for weight in weights if weight.name == original)
        if any(a.touches(copy) or (a.touches(original) and not a.keeps_tied()) for a in adapters):
            weights.append(_separated(copy, weight, family))
            plan.append(_planned(weights[-1], tensors.take(original), names, family, adapters))
        if copy in tensors.left and not _same_values(tensors.take(copy), tensors.take(original)):
            raise ConversionError(f"tensor {copy!r} differs from {original!r}, but config.json ties the two")
    for adapter in adapters:
        adapter.require_used(weight.name for weight in weights)
    return ConversionPlan(plan, _leftovers(tensors.left, family))


def _planned(weight: Weight, source: StoredTensor, names: Any, family: Family, adapters: Sequence[Adapter]) -> Planned:
    target = names.get_name(weight.name, try_suffixes=(".weight", ".bias"))
    if target is None:
        raise ConversionError(f"tensor {weight.name!r} has no place in a GGUF of {family.architecture}")
    if source.shape != weight.shape:
        raise ConversionError(
            f"tensor {weight.name!r} has shape {list(source.shape)}, config.json makes it {list(weight.shape)}"
        )
    replaced = [tensor for adapter in adapters if (tensor := adapter.replaced(weight)) is not None]
    if len(replaced) > 1:
        raise ConversionError(f"two adapters replace tensor {weight.name!r}; only one can be merged")
    source = replaced[0] if replaced else source
    updates = tuple(update for adapter in adapters if (update := adapter.update(weight)) is not None)
    return Planned(target, weight.shape, weight=weight, source=source, updates=updates)


def _separated(copy: str, original: Weight, family: Family) -> Weight:
    if not family.can_separate(copy):
        raise ConversionError(
            f"the adapter changes only one of {copy!r} and {original.name!r}, which llama.cpp's "
            f"{family.architecture} keeps as one tensor"
        )
    return Weight(copy, original.shape, original.arrange, original.compute)


def _same_values(first: StoredTensor, second: StoredTensor) -> bool:
    return first.dtype == second.dtype and np.array_equal(first.open(), second.open())


def _leftovers(left: Iterable[str], family: Family) -> tuple[str, ...]:
    """Notes about tensors left out on purpose. Raises ConversionError for any other that nothing uses."""
    left = sorted(name for name in left if not family.is_ignored(name))
    extra = [name for name in left if not family.is_left_out(name)]
    if extra:
        raise ConversionError(
            f"the checkpoint holds {len(extra)} tensor(s) that a {family.architecture} model does not use, "
            f"first {extra[0]!r}; converting would lose them"
        )
    if not left:
        return ()
    return (f"{len(left)} tensor(s) outside the language model are left out, first {left[0]!r}",)


def _architecture_id(architecture: str) -> Any:
    return next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
