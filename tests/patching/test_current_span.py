"""Our span is current while the SDK sends, so that HTTP libraries' spans belong to it; then no more."""

import anthropic
import openai
import pytest
from google import genai
from opentelemetry import context, trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

from otel_llm_usage import instrument

MESSAGES = [{"role": "user", "content": "hello"}]


@pytest.fixture
def exporter():
    exporter = InMemorySpanExporter()
    tracer_provider = TracerProvider()
    tracer_provider.add_span_processor(SimpleSpanProcessor(exporter))
    instrument(
        tracer_provider=tracer_provider, spans="always", otlp=False, registry=CollectorRegistry()
    )
    return exporter


@pytest.fixture
def seen(llm_standin):
    """The span that was current when the stand-in was asked (it answers in another thread)."""
    return []


@pytest.fixture(autouse=True)
def _nothing_stays_current():
    before = context.get_current()
    yield
    assert context.get_current() == before


def _remember(seen):
    def hook(*_):
        seen.append(trace.get_current_span().get_span_context().span_id)

    return hook


async def _remember_async(seen):
    seen.append(trace.get_current_span().get_span_context().span_id)


def _only(exporter):
    (span,) = exporter.get_finished_spans()
    return span.context.span_id


@pytest.mark.parametrize("stream", [False, True])
def test_openai_sends_inside_our_span(exporter, seen, llm_standin, stream):
    http = openai.DefaultHttpxClient(event_hooks={"request": [_remember(seen)]})
    with openai.OpenAI(http_client=http) as client:
        answer = client.chat.completions.create(model="gpt-4.1", messages=MESSAGES, stream=stream)
        assert trace.get_current_span() is trace.INVALID_SPAN
        if stream:
            assert list(answer)
    assert seen == [_only(exporter)]


def test_each_attempt_is_inside_and_a_failure_leaves_nothing(exporter, seen, llm_standin):
    http = openai.DefaultHttpxClient(event_hooks={"request": [_remember(seen)]})
    with (
        openai.OpenAI(http_client=http, max_retries=1) as client,
        pytest.raises(openai.InternalServerError),
    ):
        client.chat.completions.create(model="gpt-4.1-500", messages=MESSAGES)
    assert trace.get_current_span() is trace.INVALID_SPAN
    assert seen == [_only(exporter)] * 2


@pytest.mark.parametrize("native", [False, True])
async def test_anthropic_sends_inside_our_span_also_beside_its_own(
    exporter, seen, llm_standin, native
):
    async def hook(_):
        await _remember_async(seen)

    http = anthropic.DefaultAsyncHttpxClient(event_hooks={"request": [hook]})
    theirs = TracerProvider()
    options = {"tracer_provider": theirs, "traces": native}
    async with anthropic.AsyncAnthropic(
        http_client=http, max_retries=0, open_telemetry=options
    ) as client:
        for model in ("claude-haiku-4-5", "claude-haiku-4-5-400"):
            try:
                await client.messages.create(model=model, max_tokens=50, messages=MESSAGES)
            except anthropic.BadRequestError:
                assert model.endswith("400")
            assert trace.get_current_span() is trace.INVALID_SPAN
    spans = exporter.get_finished_spans()
    assert [span.parent is not None for span in spans] == [native, native]
    assert seen == [span.context.span_id for span in spans]


def test_gemini_sends_inside_our_span(exporter, seen, llm_standin):
    hooks = {"request": [_remember(seen)]}
    options = genai.types.HttpOptions(client_args={"event_hooks": hooks})
    with genai.Client(http_options=options) as client:
        client.models.generate_content(model="gemini-2.5-flash", contents="hello")
        stream = client.models.generate_content_stream(model="gemini-2.5-flash", contents="hello")
        for _ in stream:
            assert trace.get_current_span() is trace.INVALID_SPAN
        with pytest.raises(genai.errors.ClientError):
            client.models.generate_content(model="gemini-2.5-flash-400", contents="hello")
        assert trace.get_current_span() is trace.INVALID_SPAN
    assert seen == [span.context.span_id for span in exporter.get_finished_spans()]
