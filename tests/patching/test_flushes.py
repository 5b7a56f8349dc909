"""A span that goes out with the next batch ends soon after its call; whoever flushes, gets it."""

import gc

import openai
import pytest
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_llm_usage import backlog, instrument, uninstrument

ASK = {"model": "gpt-4.1", "messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture
def exporter():
    return InMemorySpanExporter()


@pytest.fixture
def provider():
    made = TracerProvider()
    yield made
    made.shutdown()


@pytest.fixture
def late(monkeypatch):
    """Our thread looks so seldom that whatever is there in a test was not its doing."""
    monkeypatch.setattr(backlog, "LINGER", 30.0)


def call():
    with openai.OpenAI() as client:
        client.chat.completions.create(**ASK)


def told(exporter):
    return [dict(span.attributes) for span in exporter.get_finished_spans()]


@pytest.mark.usefixtures("llm_standin", "late")
@pytest.mark.parametrize("flush", ["provider", "processor", "shutdown"])
def test_who_flushes_a_batch_gets_the_spans_of_all_calls_until_now(exporter, provider, flush):
    batches = BatchSpanProcessor(exporter)
    provider.add_span_processor(batches)
    instrument(otlp=False, tracer_provider=provider)
    for _ in range(3):
        call()
    {
        "provider": provider.force_flush,
        "processor": batches.force_flush,
        "shutdown": provider.shutdown,
    }[flush]()
    assert len(told(exporter)) == 3
    for attributes in told(exporter):
        assert attributes["gen_ai.usage.input_tokens"] > 0
        assert attributes["gen_ai.usage.cost.status"] == "priced"


@pytest.mark.usefixtures("llm_standin", "late")
def test_the_answer_is_not_read_while_the_caller_waits(exporter, provider, monkeypatch):
    provider.add_span_processor(BatchSpanProcessor(exporter))
    runtime = instrument(otlp=False, tracer_provider=provider)
    call()
    runtime.flush()
    ended = []
    monkeypatch.setattr(runtime.meter, "conclude", lambda *_: ended.append(1) or [])
    call()
    assert ended == []


class Looking(SpanProcessor):
    """One of the application's."""


@pytest.mark.usefixtures("llm_standin", "late")
@pytest.mark.parametrize("others", [(), (Looking,)], ids=["simple", "of the application"])
def test_any_other_processor_is_told_before_the_call_returns(exporter, provider, others):
    batched = InMemorySpanExporter()
    provider.add_span_processor(BatchSpanProcessor(batched))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    for kind in others:
        provider.add_span_processor(kind())
    instrument(otlp=False, tracer_provider=provider)
    call()
    assert len(told(exporter)) == 1


@pytest.mark.usefixtures("llm_standin", "late")
def test_a_processor_that_comes_later_counts(exporter, provider):
    provider.add_span_processor(BatchSpanProcessor(InMemorySpanExporter()))
    instrument(otlp=False, tracer_provider=provider)
    call()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    call()
    assert len(told(exporter)) == 1


@pytest.mark.usefixtures("llm_standin", "late")
def test_the_end_of_us_is_the_end_of_all_spans(exporter, provider):
    provider.add_span_processor(BatchSpanProcessor(exporter))
    instrument(otlp=False, tracer_provider=provider)
    call()
    uninstrument()
    gc.collect()
    provider.force_flush()
    assert len(told(exporter)) == 1
    assert not hasattr(BatchSpanProcessor.force_flush, "__wrapped__")


@pytest.mark.usefixtures("llm_standin")
@pytest.mark.parametrize("made", ["before", "after"])
def test_a_short_script_loses_no_span(python, made):
    make = """
provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(ConsoleSpanExporter()))
"""
    said = python(f"""
import openai
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter
from opentelemetry import trace
from otel_llm_usage import instrument
{make if made == "before" else ""}
{"trace.set_tracer_provider(provider)" if made == "before" else ""}
instrument(otlp=False)
{make if made == "after" else ""}
{"trace.set_tracer_provider(provider)" if made == "after" else ""}
for _ in range(3):
    openai.OpenAI().chat.completions.create(model="gpt-4.1", messages=[])
""")
    assert said.count("gen_ai.usage.cost.total") == 3
