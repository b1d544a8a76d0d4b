"""What can be said about a checkpoint before its weights are there."""

from __future__ import annotations

from pathlib import Path

from .checkpoint import Checkpoint
from .registry import family_of
from .safetensors_file import StoredTensor
from .tokenizer import read_vocabulary


def refuse_early(folder: Path, pre_tokenizer: str | None = None) -> None:
    """Raises the ConversionError that `convert` would raise for the config or the tokenizer in `folder`.

    The folder holds everything of a checkpoint but its weights.
    """
    checkpoint = _WithoutWeights(folder)
    family = family_of(checkpoint)
    read_vocabulary(checkpoint, family.n_vocab, pre_tokenizer)


class _WithoutWeights(Checkpoint):
    def _read_weights(self) -> dict[str, StoredTensor]:
        return {}
