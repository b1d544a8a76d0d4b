"""What would make a pair fit: fewer layers on a GPU, a shorter context, or another type of the base."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edge_wsd.llama.settings import AUTO
from edge_wsd.models.plan.layout import BASE, DRAFTER, MIN_CONTEXT, Layout, Wanted, lay_out
from edge_wsd.models.plan.quant_recipe import RECIPES, stored_as
from edge_wsd.units import counted, gib

_STEP = 256
_GOOD_BITS, _POOR_BITS = 3.2, 2.5  # bits per weight: below the first a model answers worse, below the second badly


def remedy(layout: Layout, wanted: Sequence[Wanted]) -> str:
    """What to do about `layout`, as clauses to append to the problem: settings first, then a type of the base."""
    settings = _fewer_layers(layout, wanted) or _shorter_context(layout, wanted)
    is_good, clause = _other_type(layout, wanted)
    return "; or ".join(part for part in (settings, clause if is_good or not settings else "") if part)


def _try(layout: Layout, wanted: Sequence[Wanted]) -> Layout:
    return lay_out(layout.machine, wanted, longest=MIN_CONTEXT)


def _fewer_layers(layout: Layout, wanted: Sequence[Wanted]) -> str:
    if all(one.settings.gpu_layers == AUTO for one in wanted) or max((0, *layout.short[1:])) == 0:
        return ""
    free = [Wanted(one.shape, replace(one.settings, gpu_layers=AUTO)) for one in wanted]
    tried = _try(layout, free)
    if not tried.fits:
        return ""
    layers = counted(tried.memories[BASE].gpu_layers, "layers")
    return f"--gpu-layers {AUTO} would put {layers} of the base on the GPU"


def _shorter_context(layout: Layout, wanted: Sequence[Wanted]) -> str:
    """The longest context with which the pair fits, for the models whose context length was given."""
    given = [one.settings.context_length for one in wanted]

    def fits(length: int) -> bool:
        shorter = [
            one if asked is None else Wanted(one.shape, replace(one.settings, context_length=min(asked, length)))
            for one, asked in zip(wanted, given, strict=True)
        ]
        return _try(layout, shorter).fits

    longest = max((asked for asked in given if asked is not None), default=0)
    if longest <= MIN_CONTEXT or not fits(MIN_CONTEXT):
        return ""
    low, high = MIN_CONTEXT // _STEP, -(-longest // _STEP)  # fits at low, not at high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle * _STEP) else (low, middle)
    only = "drafter-" if given[BASE] is None else "base-" if given[DRAFTER] is None else ""
    return f"a shorter context would fit: try --{only}ctx {low * _STEP}"


def _other_type(layout: Layout, wanted: Sequence[Wanted]) -> tuple[bool, str]:
    """Whether some type of the base fits and answers well, and the advice about the largest one that fits."""
    base = wanted[BASE]
    smallest = None
    for name in RECIPES:
        shape = stored_as(base.shape, name)
        if shape.weights_bytes >= base.shape.weights_bytes:
            continue
        tried = _try(layout, [*wanted[:BASE], Wanted(shape, base.settings)])
        if tried.fits:
            return _advice(name, gib(shape.weights_bytes))
        smallest = name, max(tried.short), shape.weights_bytes
    if smallest is None:
        return False, "no type makes the base smaller; take a smaller model or free memory"
    name, short, n_bytes = smallest
    from edge_wsd.models.gguf.file_types import QUANT_TYPES

    for small in (each for each in QUANT_TYPES.values() if each.imatrix == "required"):
        estimate = int(base.shape.n_params * small.bits_per_weight / 8)
        if short < n_bytes - estimate:
            return _advice(small.name, f"about {gib(estimate)}, with an importance matrix")
    return False, (
        f"even {name}, the smallest type that needs no importance matrix, is {gib(short)} too large; "
        "take a smaller model"
    )


def _advice(name: str, size: str) -> tuple[bool, str]:
    """Whether a type is good, and a clause that names it and what it costs."""
    from edge_wsd.models.gguf.file_types import QUANT_TYPES

    clause, bits = f"the base as {name} ({size}) would fit", QUANT_TYPES[name].bits_per_weight
    if bits >= _GOOD_BITS:
        return True, clause
    cost = "it loses most of what it knows" if bits < _POOR_BITS else "it answers clearly worse"
    return False, f"{clause}, but at {bits:.1f} bits per weight {cost}: a smaller model is the better choice"
