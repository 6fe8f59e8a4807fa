"""Requests made from the description of the routes: none makes the server fail, and every answer fits it."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings

schemathesis = pytest.importorskip("schemathesis")


def test_every_route_is_as_described(client):
    schema = schemathesis.openapi.from_asgi("/openapi.json", client.app)
    for found in schema.get_all_operations():
        operation = found.ok()

        @settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
        @given(operation.as_strategy())
        def as_described(case):
            # What fields mean together (one of texts, documents, ids) is in their text, not in the schema.
            case.call_and_validate(excluded_checks=[schemathesis.checks.positive_data_acceptance])

        as_described()
