"""Rules that keep some tensors in a better type than the file's: `output=Q6_K`, `embedding=F16`, `attn_v=Q8_0`.

>>> parse_keep(["output=q6_K", "attn_v=Q8_0"])
{'output': 'q6_K', 'attn_v': 'Q8_0'}
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from edge_wsd.errors import QuantizationError
from edge_wsd.models.gguf.header import TensorInfo
from edge_wsd.models.gguf.types import TENSOR_TYPES, TensorType

OUTPUT, EMBEDDING = "output", "embedding"
STORED = ""
"""In place of a type: the one the tensor has already."""
_OUTPUT_TENSOR, _EMBEDDING_TENSORS = "output.weight", ("token_embd.weight", "per_layer_token_embd.weight")
_CHOICES = {kind.name: kind for kind in TENSOR_TYPES.values() if kind.multiplies}


def parse_keep(texts: Iterable[str]) -> dict[str, str]:
    """The rules in `NAME=TYPE` or `NAME`. Raises QuantizationError for one that is neither or is there twice."""
    rules: dict[str, str] = {}
    for text in texts:
        name, equals, type_name = text.rpartition("=") if "=" in text else (text, "", STORED)
        if not name or (equals and not type_name):
            raise QuantizationError(f"--keep {text!r} is not NAME=TYPE or NAME, such as output=Q6_K")
        if name in rules:
            raise QuantizationError(f"--keep names {name!r} twice")
        rules[name] = type_name
    return rules


def kept_types(keep: Mapping[str, str], tensors: Sequence[TensorInfo]) -> dict[str, str]:
    """The tensor type of each tensor that a rule applies to, by name.

    "output" and "embedding" name the tensors they say and go before patterns; of the patterns (regular expressions
    searched for in the names of matrices) the first that matches counts. Raises QuantizationError for a rule that
    applies to nothing or cannot be followed.
    """
    matrices = {tensor.name: tensor for tensor in tensors if len(tensor.shape) > 1}
    kept: dict[str, str] = {}
    for name in sorted(keep, key=lambda name: name not in (OUTPUT, EMBEDDING)):  # a stable sort
        wanted = _tensor_type(name, keep[name])
        found = _named(name, matrices)
        if not found:
            some = ", ".join(list(matrices)[:3])
            raise QuantizationError(f"--keep {name!r} matches no matrix of the model; there are {some} and so on")
        for tensor in found:
            type_name = tensor.type_name if wanted is None else wanted.name
            if name in (OUTPUT, EMBEDDING) and kept.get(tensor.name, type_name) != type_name:
                raise QuantizationError(f"the model uses {tensor.name} for output and embedding; keep it in one type")
            if wanted is not None and tensor.shape[0] % wanted.block:
                raise QuantizationError(
                    f"--keep {name}={wanted.name}: rows of {tensor.name} have {tensor.shape[0]} elements, "
                    f"{wanted.name} needs multiples of {wanted.block}; choose another type or a narrower pattern"
                )
            kept.setdefault(tensor.name, type_name)
    return kept


def _tensor_type(name: str, type_name: str) -> TensorType | None:
    """None: as it is stored."""
    if type_name == STORED:
        return None
    wanted = _CHOICES.get(type_name.strip().upper())
    if wanted is None:
        raise QuantizationError(
            f"--keep {name}={type_name:.40}: there is no such tensor type; expected one of {', '.join(_CHOICES)}"
        )
    return wanted


def _named(name: str, matrices: Mapping[str, TensorInfo]) -> list[TensorInfo]:
    if name == OUTPUT:  # a model without this matrix uses the embedding in its place
        return [matrices[each] for each in (_OUTPUT_TENSOR, _EMBEDDING_TENSORS[0]) if each in matrices][:1]
    if name == EMBEDDING:
        return [matrices[each] for each in _EMBEDDING_TENSORS if each in matrices]
    try:
        pattern = re.compile(name)
    except re.error as error:
        raise QuantizationError(f"--keep {name!r} is not a pattern: {error}") from None
    return [tensor for tensor in matrices.values() if pattern.search(tensor.name)]
