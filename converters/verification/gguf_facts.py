"""What a comparison needs to know of a GGUF file before any weights are loaded.

>>> read_facts("model.gguf").type
'Q4_K_M'
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from edge_wsd.models.gguf.check import check_gguf, n_parts, part_paths
from edge_wsd.models.gguf.file_types import QUANT_TYPES
from edge_wsd.models.gguf.header import GgufHeader, TensorInfo, read_header
from edge_wsd.models.gguf.types import TENSOR_TYPES

_GUESSED = 1024  # llama.cpp's mark on a file type that it worked out from the tensors
_FLOATS = {"F32", "F16", "BF16"}


@dataclass(frozen=True, slots=True)
class GgufFacts:
    """`type` is the file's by name; `bits_per_weight` is the mean over all tensors, `n_bytes` that of all parts."""

    path: Path
    header: GgufHeader
    architecture: str
    n_vocab: int
    type: str
    tensor_types: frozenset[str]
    n_bytes: int
    bits_per_weight: float

    @property
    def is_float(self) -> bool:
        """Whether no tensor is quantized."""
        return self.tensor_types <= _FLOATS


def read_facts(path: str | Path) -> GgufFacts:
    """Checks the file without loading it. Raises ModelFileError."""
    path = Path(path)
    header = check_gguf(path)
    paths = part_paths(path, n_parts(header))
    headers = [header, *(read_header(part) for part in paths[1:])]
    tensors = [tensor for part in headers for tensor in part.tensors]
    n_weights = sum(math.prod(tensor.shape) for tensor in tensors)
    return GgufFacts(
        path, header, str(header.metadata["general.architecture"]), len(header.metadata["tokenizer.ggml.tokens"]),
        _type(header, tensors), frozenset(tensor.type_name for tensor in tensors),
        sum(part.file_size for part in headers), 8 * sum(tensor.n_bytes for tensor in tensors) / n_weights,
    )  # fmt: skip


def _type(header: GgufHeader, tensors: list[TensorInfo]) -> str:
    """By the file's own word; without it, the type that most weights have."""
    stated = header.metadata.get("general.file_type")
    if isinstance(stated, int):
        for known in QUANT_TYPES.values():
            if known.file_type == stated & ~_GUESSED:
                return known.name
    weights = Counter[int]()
    for tensor in tensors:
        weights[tensor.type] += math.prod(tensor.shape)
    return TENSOR_TYPES[weights.most_common(1)[0][0]].name
