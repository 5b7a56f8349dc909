"""One stand-in for each test."""

from collections.abc import Iterator

import pytest

from otel_llm_usage.standin import StandIn


@pytest.fixture
def standin() -> Iterator[StandIn]:
    with StandIn(deployments={"chat-prod": "gpt-4.1"}) as running:
        yield running
