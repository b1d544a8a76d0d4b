"""What would make a pair fit that does not: fewer layers on a GPU, a shorter context, or another type of the base."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edge_wsd.llama.settings import AUTO
from edge_wsd.models.layout import BASE, MIN_CONTEXT, Layout, Wanted, lay_out
from edge_wsd.models.quant_recipe import RECIPES, stored_as
from edge_wsd.models.sizes_in_words import gib


def remedy(layout: Layout, wanted: Sequence[Wanted]) -> str:
    """What to do about `layout`, in clauses for the end of the complaint: settings first, and a type of the base."""
    settings = _fewer_layers(layout, wanted) or _shorter_context(layout, wanted)
    type_name, clause = _other_type(layout, wanted)
    return "; or ".join(part for part in (settings, clause if type_name or not settings else "") if part)


def _try(layout: Layout, wanted: Sequence[Wanted]) -> Layout:
    return lay_out(layout.machine, wanted, longest=MIN_CONTEXT)


def _fewer_layers(layout: Layout, wanted: Sequence[Wanted]) -> str:
    if all(one.settings.gpu_layers == AUTO for one in wanted) or max((0, *layout.short[1:])) == 0:
        return ""
    free = [Wanted(one.shape, replace(one.settings, gpu_layers=AUTO)) for one in wanted]
    tried = _try(layout, free)
    if not tried.fits:
        return ""
    return f"--gpu-layers {AUTO} would put {tried.memories[BASE].gpu_layers} layers of the base there"


def _shorter_context(layout: Layout, wanted: Sequence[Wanted]) -> str:
    if all(one.settings.context_length is None for one in wanted):
        return ""
    free = [Wanted(one.shape, replace(one.settings, context_length=None)) for one in wanted]
    return f"a shorter context would fit: try --ctx {MIN_CONTEXT}" if _try(layout, free).fits else ""


def _other_type(layout: Layout, wanted: Sequence[Wanted]) -> tuple[str, str]:
    """The largest type of the base with which the pair fits, empty if there is none, and what to say of it."""
    base = wanted[BASE]
    smallest = None
    for name in RECIPES:
        shape = stored_as(base.shape, name)
        if shape.weights_bytes >= base.shape.weights_bytes:
            continue
        tried = _try(layout, [*wanted[:BASE], Wanted(shape, base.settings)])
        if tried.fits:
            return name, f"the base as {name} ({gib(shape.weights_bytes)}) would fit"
        smallest = name, max(tried.short), shape.weights_bytes
    if smallest is None:
        return "", "no type makes the base smaller; take a smaller model or free memory"
    name, short, n_bytes = smallest
    from edge_wsd.converters.types import QUANT_TYPES

    for small in (each for each in QUANT_TYPES.values() if each.imatrix == "required"):
        estimate = int(base.shape.n_params * small.bits_per_weight / 8)
        if short < n_bytes - estimate:
            return small.name, f"the base as {small.name} (about {gib(estimate)}, with an importance matrix) would fit"
    return "", (
        f"even {name}, the smallest type that needs no importance matrix, is {gib(short)} too large; "
        "take a smaller model"
    )
