"""Spans of others that say only at their end what they tell of, or that are never current."""

import sys
from types import ModuleType

import pytest

from otel_llm_usage.telemetry.spans import Spans


@pytest.fixture
def call(provider, record):
    """Make one call."""

    def make(mode="auto", **changes):
        spans = Spans(provider, mode)
        settled = record(**changes)
        handle = spans.start(settled.request, "planner")
        if handle is not None:
            spans.finish(handle, [settled])

    return make


@pytest.fixture
def other(monkeypatch):
    """A function of a module of another package, that calls what it is given."""

    def make(name):
        module = ModuleType(name)
        exec("def around(call): return call()", vars(module))
        for depth in range(3, name.count(".") + 2):
            part = ".".join(name.split(".")[:depth])
            monkeypatch.setitem(sys.modules, part, module)
        return module.around

    return make


def names(exporter):
    return [span.name for span in exporter.get_finished_spans()]


@pytest.mark.parametrize("operation", ["chat", "generate_content"])
def test_a_span_that_is_named_as_the_conventions_want_tells_of_the_call(
    call, provider, exporter, operation
):
    name = f"{operation} gpt-5"
    with provider.get_tracer("other").start_as_current_span(name):
        call(asked={"operation": operation})
    (span,) = exporter.get_finished_spans()
    assert span.name == name
    assert span.attributes["gen_ai.usage.input_tokens"] == 120
    assert "gen_ai.usage.cost.total" in span.attributes


def test_operations_have_two_names(call, provider, exporter):
    with provider.get_tracer("other").start_as_current_span("chat gemini-2.5-pro"):
        call(asked={"operation": "generate_content", "model": "gemini-2.5-pro"})
    assert names(exporter) == ["chat gemini-2.5-pro"]


@pytest.mark.parametrize("name", ["chat gpt-4", "chat", "gpt-5", "POST"])
def test_a_span_of_another_name_does_not(call, provider, exporter, name):
    with provider.get_tracer("other").start_as_current_span(name):
        call()
    assert names(exporter) == ["chat gpt-5", name]


@pytest.mark.parametrize(
    "module",
    [
        "openlit.instrumentation.anthropic.anthropic",
        "opentelemetry.instrumentation.google_generativeai",
        "openinference.instrumentation.openai._request",
    ],
)
def test_a_package_that_stands_around_the_call_tells_of_it(call, exporter, other, module):
    other(module)(call)
    assert names(exporter) == []


def test_always_is_always(call, exporter, other):
    other("opentelemetry.instrumentation.openai.v1")(lambda: call("always"))
    assert names(exporter) == ["chat gpt-5"]


@pytest.mark.parametrize(
    "module", ["opentelemetry.instrumentation.openai_like", "opentelemetry.instrumentation.asgi"]
)
def test_other_packages_do_not(call, exporter, other, module):
    other("opentelemetry.instrumentation.openai")
    other(module)(call)
    assert names(exporter) == ["chat gpt-5"]


def test_a_package_that_is_only_imported_does_not(call, exporter, other):
    other("openlit.instrumentation.openai")
    call()
    assert names(exporter) == ["chat gpt-5"]
