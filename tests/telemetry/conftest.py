"""Made-up records, metrics in a registry of their own, and what a scrape says."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

from otel_llm_usage.records import Cost, PricedLine, Record, Request, Usage
from otel_llm_usage.telemetry.metrics import Metrics

_numbers = itertools.count()


def make_request(**changes: Any) -> Request:
    request = Request(
        provider="openai",
        vendor="openai",
        platform="openai-api",
        operation="chat",
        endpoint="chat.completions",
        model="gpt-5",
        server_address="api.openai.com",
        server_port=443,
    )
    return request._replace(**changes)


def make_cost(**picos: int) -> Cost:
    lines = tuple(PricedLine(sku, 1, pico, "test") for sku, pico in picos.items())
    return Cost("priced", pico=sum(picos.values()), priced_lines=lines)


def make_record(**changes: Any) -> Record:
    request = changes.pop("request", None) or make_request(**changes.pop("asked", {}))
    record = Record(
        id=f"{next(_numbers):032x}",
        time=1_800_000_000.0,
        request=request,
        status="ok",
        usage=Usage(input=100, cache_read=20, output=30, reasoning=5),
        usage_source="reported",
        cost=make_cost(input=125_000_000, cache_read=2_500_000, output=300_000_000),
        duration=1.5,
        agent="planner",
    )
    return record._replace(**changes)


class Scraped:
    """The samples of a registry, by name and labels."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.samples = [sample for metric in registry.collect() for sample in metric.samples]

    def __call__(self, name: str, **labels: str) -> float | None:
        """The sum of the samples with these labels; `None` if there is none."""
        found = [
            sample.value
            for sample in self.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
        return sum(found) if found else None

    def values(self, name: str, label: str) -> set[str]:
        return {sample.labels[label] for sample in self.samples if sample.name == name}


@pytest.fixture
def request_of() -> Callable[..., Request]:
    return make_request


@pytest.fixture
def cost_of() -> Callable[..., Cost]:
    return make_cost


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def provider(exporter: InMemorySpanExporter) -> Iterator[TracerProvider]:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield provider
    provider.shutdown()


@pytest.fixture
def record() -> Callable[..., Record]:
    return make_record


@pytest.fixture
def metrics() -> Iterator[Callable[..., Metrics]]:
    made: list[Metrics] = []

    def make(**options: Any) -> Metrics:
        options.setdefault("registry", CollectorRegistry())
        made.append(Metrics(**options))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def scrape() -> Callable[[Metrics], Scraped]:
    return lambda metrics: Scraped(metrics.registry)
