"""Which type each tensor of a model gets when llama.cpp quantizes it, so that sizes are known beforehand.

>>> stored_as(shape, "Q4_K_M").weights_bytes
4912898304

The tests compare it with llama.cpp's own dry run. Types that need an importance matrix are left out: with one, the
mixture differs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from edge_wsd.errors import PlanError
from edge_wsd.models.gguf.shape import EMBEDDING, OUTPUT, TYPE_BY_NAME, ModelShape, WeightShape

# The type used instead for a matrix whose rows do not divide into blocks.
_FALLBACK = {"Q2_K": "Q4_0", "Q3_K": "Q4_0", "Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}
_NOT_QUANTIZED = ("_norm.weight", "ffn_gate_inp.weight", "rope_freqs", "rope_factors")
_LAYERS_OF_70B = 80


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a matrix is: layer `index` of `n_layers`, whose `n_gqa` query heads share a key-value head."""

    index: int
    n_layers: int
    n_gqa: int

    @property
    def is_early(self) -> bool:
        """In the first eighth of the layers."""
        return self.index < self.n_layers // 8

    @property
    def matters_more(self) -> bool:
        """In the first or last eighth, or each third between them."""
        eighth = self.n_layers // 8
        return self.is_early or self.index >= 7 * self.n_layers // 8 or (self.index - eighth) % 3 == 2


Rule = Callable[[_Place], str]


def _always(type_: str) -> Rule:
    return lambda place: type_


# Type of a file -> type of most of its matrices, and the rules for those that have another.
RECIPES: dict[str, tuple[str, dict[str, Rule]]] = {
    "F32": ("F32", {}),
    "F16": ("F16", {}),
    "BF16": ("BF16", {}),
    "Q8_0": ("Q8_0", {}),
    "Q6_K": ("Q6_K", {}),
    "Q5_K_M": (
        "Q5_K",
        {
            "attn_v": lambda place: "Q6_K" if place.matters_more else "Q5_K",
            "ffn_down": lambda place: "Q6_K" if place.matters_more else "Q5_K",
        },
    ),
    "Q5_K_S": ("Q5_K", {}),
    "Q5_1": ("Q5_1", {}),
    "Q5_0": ("Q5_0", {}),
    "Q4_K_M": (
        "Q4_K",
        {
            "attn_v": lambda place: "Q6_K" if place.matters_more else "Q4_K",
            "ffn_down": lambda place: "Q6_K" if place.matters_more else "Q4_K",
        },
    ),
    "Q4_K_S": (
        "Q4_K",
        {
            "attn_v": lambda place: "Q5_K" if place.index < 4 else "Q4_K",
            "ffn_down": lambda place: "Q5_K" if place.is_early else "Q4_K",
        },
    ),
    "Q4_1": ("Q4_1", {}),
    "Q4_0": ("Q4_0", {}),
    "Q3_K_L": (
        "Q3_K",
        {name: _always("Q5_K") for name in ("attn_v", "attn_output", "ffn_down")},
    ),
    "Q3_K_M": (
        "Q3_K",
        {
            "attn_v": lambda place: "Q5_K" if place.index < 2 else "Q4_K",
            "attn_output": _always("Q4_K"),
            "ffn_down": lambda place: "Q5_K" if place.index < place.n_layers // 16 else "Q4_K",
        },
    ),
    "Q3_K_S": ("Q3_K", {}),
    "Q2_K": (
        "Q2_K",
        {
            "attn_v": lambda place: "Q4_K" if place.n_gqa >= 4 else "Q3_K",
            "attn_output": _always("Q3_K"),
            "ffn_down": _always("Q3_K"),
        },
    ),
}
"""By name, from largest to smallest."""


def stored_as(shape: ModelShape, type_name: str) -> ModelShape:
    """The same model in a file of another type. Raises `PlanError` for a type whose mixture is unknown."""
    if type_name not in RECIPES:
        known = ", ".join(RECIPES)
        raise PlanError(f"the size of a file of type {type_name!r} cannot be known beforehand; expected one of {known}")
    weights = tuple(_stored(shape, weight, type_name) for weight in shape.weights)
    return replace(shape, weights=weights, path=None)


def _stored(shape: ModelShape, weight: WeightShape, type_name: str) -> WeightShape:
    if len(weight.shape) < 2 or any(part in weight.name for part in _NOT_QUANTIZED):
        return weight
    if not weight.name.endswith("weight"):
        return weight
    type_ = _fitting(_type(shape, weight, type_name), weight.shape[0])
    return replace(weight, type=type_)


def _type(shape: ModelShape, weight: WeightShape, type_name: str) -> str:
    main, rules = RECIPES[type_name]
    if main in ("F32", "F16", "BF16"):
        return main
    if weight.name == OUTPUT or (weight.name == EMBEDDING and shape.is_tied):
        return main if main == "Q8_0" else "Q8_0" if weight.shape[0] % TYPE_BY_NAME[main].block else "Q6_K"
    layer = weight.layer
    if layer is None:
        return main
    part = weight.name.split(".")[2].replace("attn_qkv", "attn_v")  # where they lie in one, values rule
    place = _Place(layer, shape.n_layers, shape.n_heads[layer] // max(shape.n_heads_kv[layer], 1))
    type_ = rules[part](place) if part in rules else main
    if part == "attn_v" and type_ in ("Q3_K", "Q4_K") and _is_70b(shape):
        type_ = "Q5_K"  # eight query heads share each of these values, so more bits cost little
    return type_


def _is_70b(shape: ModelShape) -> bool:
    return shape.architecture == "llama" and shape.n_layers == _LAYERS_OF_70B and shape.n_heads != shape.n_heads_kv


def _fitting(type_: str, row: int) -> str:
    if row % TYPE_BY_NAME[type_].block:
        type_ = _FALLBACK.get(type_, type_)
    return "F16" if row % TYPE_BY_NAME[type_].block else type_
