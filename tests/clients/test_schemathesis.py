"""The server keeps what its own OpenAPI document promises, whatever it is sent."""

import json

import pytest
from hypothesis import HealthCheck, settings

from edge_wsd.models.pairs.built_in import BUILT_IN_PAIRS
from edge_wsd.serve.app import create_app
from edge_wsd.serve.served_models import ServedModels
from edge_wsd.serve.settings import ServeSettings
from edge_wsd.serve.streaming import NDJSON

schemathesis = pytest.importorskip("schemathesis")

N_FEW = 4
"""Tokens of an answer: what is tried are requests, and there are many."""
CHECKS = [
    schemathesis.checks.not_a_server_error,
    schemathesis.checks.status_code_conformance,
    schemathesis.checks.content_type_conformance,
    schemathesis.checks.response_schema_conformance,
]


schema = schemathesis.openapi.from_dict(create_app(ServeSettings(), ServedModels(BUILT_IN_PAIRS["demo"])).openapi())


@schemathesis.deserializer(NDJSON)
def last_line(_context, response):
    """The schema is that of a line; all must be JSON, and the last is the fullest."""
    return [json.loads(line) for line in response.content.splitlines()][-1]


@schema.parametrize()
@settings(max_examples=5, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_every_operation_keeps_its_promises(case, address):
    if isinstance(case.body, dict):
        case.body = shortened(case.body)
    case.call_and_validate(base_url=address, checks=CHECKS, timeout=60)


def shortened(body):
    """The same request for a short answer, where it asks for none of a certain length."""
    for name in ("max_tokens", "max_output_tokens"):
        if body.get(name) is None:
            body = {**body, name: N_FEW}
    options = body.get("options")
    if options is None:
        return {**body, "options": {"num_predict": N_FEW}}
    if isinstance(options, dict) and options.get("num_predict") is None:
        return {**body, "options": {**options, "num_predict": N_FEW}}
    return body
