"""What would make a pair fit that does not: fewer layers on a GPU, a shorter context, or another type of the base."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edge_wsd.llama.settings import AUTO
from edge_wsd.models.layout import BASE, MIN_CONTEXT, Layout, Wanted, lay_out
from edge_wsd.models.quant_recipe import RECIPES, stored_as
from edge_wsd.models.sizes_in_words import gib, number


def remedy(layout: Layout, wanted: Sequence[Wanted]) -> str:
    """One clause for the end of the complaint about `layout`."""
    return _fewer_layers(layout, wanted) or _shorter_context(layout, wanted) or _other_type(layout, wanted)


def _try(layout: Layout, wanted: Sequence[Wanted]) -> Layout:
    from edge_wsd.llama.repacking import repacked_types

    return lay_out(layout.machine, wanted, longest=MIN_CONTEXT, repacked=repacked_types())


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
    return (
        f"a shorter context would: try --ctx {number(MIN_CONTEXT)}".replace(",", "") if _try(layout, free).fits else ""
    )


def _other_type(layout: Layout, wanted: Sequence[Wanted]) -> str:
    base = wanted[BASE]
    smallest = None
    for name in RECIPES:
        shape = stored_as(base.shape, name)
        if shape.weights_bytes >= base.shape.weights_bytes:
            continue
        tried = _try(layout, [*wanted[:BASE], Wanted(shape, base.settings)])
        if tried.fits:
            return f"the base as {name} ({gib(shape.weights_bytes)}) would fit"
        smallest = name, max(tried.short)
    if smallest is None:
        return "no type makes the base smaller; take a smaller model or free memory"
    name, short = smallest
    return (
        f"even {name}, the smallest type that needs no importance matrix, is {gib(short)} too large; "
        "take a smaller model"
    )
