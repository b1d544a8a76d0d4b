"""The importance matrix of a quantization: read from its file and held against the tensors of the model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_wsd.errors import QuantizationError
from edge_wsd.models.gguf.header import TensorInfo

from .imatrix import read_imatrix


@dataclass(frozen=True, eq=False)
class Importance:
    """Weights by tensor name, one float32 per column and expert, and what a quantized file says of their origin."""

    weights: Mapping[str, npt.NDArray[np.float32]]
    metadata: Mapping[str, int | str]


def read_importance(path: Path, tensors: Iterable[TensorInfo]) -> Importance:
    """The importance matrix at `path` for a model of these `tensors`.

    Raises ModelFileError if there is none, QuantizationError if it belongs to another model.
    """
    imatrix = read_imatrix(path)
    weights = imatrix.weights()
    known = {tensor.name: tensor for tensor in tensors}
    for name, values in weights.items():
        tensor = known.get(name)
        if tensor is None:
            raise QuantizationError(
                f"{path}: holds numbers for tensor {name!r}, which the model does not have; "
                "use the importance matrix of this model"
            )
        expected = n_columns(tensor)
        if values.size != expected:
            raise QuantizationError(
                f"{path}: holds {values.size} numbers for {name}, the model needs {expected}; "
                "use the importance matrix of this model"
            )
    metadata: dict[str, int | str] = {
        "quantize.imatrix.file": path.name,
        "quantize.imatrix.entries_count": len(weights),
    }
    if imatrix.datasets:
        metadata["quantize.imatrix.dataset"] = imatrix.datasets[0]
    if imatrix.n_chunks:
        metadata["quantize.imatrix.chunks_count"] = imatrix.n_chunks
    return Importance(weights, metadata)


def n_columns(tensor: TensorInfo) -> int:
    """How many numbers a tensor needs: one per column, for each expert."""
    return tensor.shape[0] * (tensor.shape[2] if len(tensor.shape) > 2 else 1)
