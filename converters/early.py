"""What can be said about a checkpoint before its weights are there."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from .checkpoint.folder import Checkpoint
from .checkpoint.safetensors_file import StoredTensor
from .conversion import family_of
from .tokenizers.choose import read_vocabulary


def refuse_early(folder: Path, pre_tokenizer: str | None = None, weight_types: Collection[str] = ()) -> None:
    """Raises the ConversionError that `convert` would raise for the config or the tokenizer in `folder`.

    The folder holds everything of a checkpoint but its weights, which have `weight_types` as far as that is known.
    """
    checkpoint = _WithoutWeights(folder, weight_types)
    family = family_of(checkpoint)
    read_vocabulary(checkpoint, family.n_vocab, pre_tokenizer)


class _WithoutWeights(Checkpoint):
    def __init__(self, folder: Path, types: Collection[str]) -> None:
        self._types = frozenset(types)
        super().__init__(folder)

    def _read_weights(self) -> dict[str, StoredTensor]:
        return {}

    def weight_types(self) -> frozenset[str]:
        return self._types
