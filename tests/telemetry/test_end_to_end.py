"""Spans and metrics of real SDKs that talk to the stand-in."""

import anthropic
import openai
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

from otel_llm_usage import agent, instrument
from otel_llm_usage.testing import Records

QUESTION = [{"role": "user", "content": "hello"}]
MODEL = "claude-opus-4-5"


@pytest.fixture
def traced(llm_standin):
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    records = Records()
    runtime = instrument(
        sinks=[records.append], tracer_provider=provider, registry=CollectorRegistry()
    )
    yield provider, exporter, records, runtime
    runtime.close()
    provider.shutdown()


def test_a_call_has_one_span_and_its_record_knows_it(traced):
    _, exporter, records, _ = traced
    with openai.OpenAI() as client, agent("planner"):
        client.chat.completions.create(model="gpt-5", messages=QUESTION)
    (span,) = exporter.get_finished_spans()
    (record,) = records
    assert record.span_id == f"{span.context.span_id:016x}"
    assert span.attributes["gen_ai.usage.input_tokens"] == record.usage.input_tokens
    assert span.attributes["gen_ai.usage.output_tokens"] == record.usage.output_tokens
    assert span.attributes["gen_ai.usage.cost.total"] == float(record.cost_usd)
    assert span.attributes["gen_ai.agent.name"] == "planner"


@pytest.mark.parametrize("streamed", [False, True])
def test_the_span_of_the_anthropic_sdk_gets_the_cost_and_there_is_no_second(traced, streamed):
    provider, exporter, records, _ = traced
    with (
        anthropic.Anthropic(open_telemetry={"tracer_provider": provider}) as client,
        agent("planner"),
    ):
        if streamed:
            with client.messages.stream(model=MODEL, max_tokens=10, messages=QUESTION) as stream:
                for _ in stream:
                    pass
        else:
            client.messages.create(model=MODEL, max_tokens=10, messages=QUESTION)
    (span,) = exporter.get_finished_spans()
    (record,) = records
    assert span.instrumentation_scope.name == "com.anthropic.sdk.python"
    assert record.span_id == f"{span.context.span_id:016x}"
    assert span.attributes["gen_ai.usage.output_tokens"] == record.usage.output_tokens
    assert span.attributes["gen_ai.usage.cost.total"] == float(record.cost_usd)
    assert span.attributes["gen_ai.agent.name"] == "planner"
