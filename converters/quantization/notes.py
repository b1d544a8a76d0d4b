"""What a person should know of a quantized file beyond its size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edge_wsd.llama.tools.quantizer import TensorPlan
from edge_wsd.models.gguf.file_types import QuantType
from edge_wsd.models.gguf.header import TensorInfo

from .importance import Importance

_OUTSIDE_LAYERS = ("token_embd.weight", "per_layer_token_embd.weight", "output.weight")


def notes_of(
    wanted: QuantType,
    tensors: Sequence[TensorInfo],
    plan: TensorPlan,
    importance: Importance | None,
    *,
    requantize: bool,
) -> tuple[str, ...]:
    """Notes in the order of their weight."""
    notes = []
    if wanted.caution:
        notes.append(f"{wanted.name}: {wanted.caution}")
    if wanted.imatrix == "advised" and importance is None:
        notes.append(
            f"{wanted.name} loses much without an importance matrix: make one with `edge-wsd imatrix` "
            "and give it with --imatrix"
        )
    if importance is not None:
        notes += _without_importance(tensors, plan.types, importance)
    if plan.fallbacks:
        names = ", ".join(sorted(set(plan.fallbacks.values())))
        notes.append(f"{len(plan.fallbacks)} tensor(s) stored as {names}: their rows do not divide into blocks")
    if requantize:
        notes.append("the source was quantized already: the result is worse than one made from the original")
    return tuple(notes)


def _without_importance(tensors: Sequence[TensorInfo], types: Mapping[str, str], importance: Importance) -> list[str]:
    """The embedding is looked up, not multiplied, and the output is not measured by default: they do not count."""
    bare = [
        tensor.name
        for tensor in tensors
        if types[tensor.name] != tensor.type_name
        and tensor.name not in _OUTSIDE_LAYERS
        and tensor.name not in importance.weights
    ]
    if not bare:
        return []
    return [f"the importance matrix has no numbers for {len(bare)} tensor(s), first {bare[0]}"]
