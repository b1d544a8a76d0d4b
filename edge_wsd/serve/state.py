"""What all routes of one server work with."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import Request

from edge_wsd.serve.limits import Limits
from edge_wsd.serve.metrics import Metrics
from edge_wsd.serve.served_models import ServedModels
from edge_wsd.serve.settings import ServeSettings


@dataclass(frozen=True, slots=True)
class Serve:
    """`request.app.state.serve`."""

    settings: ServeSettings
    models: ServedModels
    limits: Limits
    metrics: Metrics


def serve_of(request: Request) -> Serve:
    """The server that a request was sent to."""
    serve: Serve = request.app.state.serve
    return serve
