"""The shape of a model that may not be here yet, so that its memory can be planned."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edge_wsd.errors import EdgeWsdError, StoreError

if TYPE_CHECKING:
    from edge_wsd.models.gguf.shape import ModelShape


def shape_of(name: str, type_name: str | None) -> ModelShape:
    """Shape of a model: of its file, or where it has none yet, what is published of it."""
    from edge_wsd.models.gguf.check import check_gguf
    from edge_wsd.models.gguf.shape import shape_of_file
    from edge_wsd.models.plan.known_shapes import KNOWN_MODELS, known_shape
    from edge_wsd.models.plan.quant_recipe import stored_as
    from edge_wsd.models.probe.trial import probe_model
    from edge_wsd.models.store.local import find_model
    from edge_wsd.models.store.model_name import DEFAULT_TYPE, HubModel, parse_model_name

    type_name = None if type_name is None else _known_type(type_name)
    try:
        path = find_model(name)
    except StoreError:
        asked = parse_model_name(name)
        if not isinstance(asked, HubModel) or asked.repo not in KNOWN_MODELS:
            raise
        return known_shape(asked.repo, type_name or _known_type(asked.type or DEFAULT_TYPE))
    header = check_gguf(path)
    probe_model(path, header=header)
    shape = shape_of_file(path, header)
    return shape if type_name is None else stored_as(shape, type_name)


def _known_type(name: str) -> str:
    from edge_wsd.models.gguf.file_types import find_type

    try:
        return str(find_type(name).name)
    except EdgeWsdError as error:
        raise click.UsageError(str(error)) from error
