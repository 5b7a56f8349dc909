"""What a call's span says, and when there is none of ours."""

from decimal import Decimal

import pytest
from opentelemetry import context, trace
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import NonRecordingSpan, SpanKind, StatusCode

from otel_llm_usage.records import Cost, Usage
from otel_llm_usage.telemetry.spans import Spans, suppressed


@pytest.fixture
def call(provider, exporter, record):
    """Make one call; its span."""

    def make(*, mode="auto", agent="planner", more=(), **changes):
        spans = Spans(provider, mode)
        settled = record(agent=agent, **changes)
        handle = spans.start(settled.request, agent)
        if handle is not None:
            spans.finish(handle, [settled, *more])
        finished = exporter.get_finished_spans()
        return finished[-1] if finished else None

    return make


def test_a_call_is_a_client_span_named_after_operation_and_model(call):
    span = call()
    assert span.name == "chat gpt-5"
    assert span.kind is SpanKind.CLIENT
    assert span.status.status_code is StatusCode.UNSET
    assert span.instrumentation_scope.name == "otel_llm_usage"


def test_a_call_without_a_model_is_named_after_its_operation(call):
    assert call(asked={"model": None}).name == "chat"


def test_the_attributes_are_those_of_the_conventions(call):
    span = call(
        asked={"stream": True, "tier": "flex"},
        usage=Usage(
            input=100,
            cache_read=20,
            cache_read_audio=1,
            cache_write_5m=7,
            cache_write_1h=3,
            output=30,
            reasoning=5,
        ),
        response_model="gpt-5-2025-08-07",
        response_id="chatcmpl-1",
        finish_reasons=("stop",),
        tier="flex",
        time_to_first_chunk=0.25,
    )
    assert dict(span.attributes) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-5",
        "gen_ai.request.stream": True,
        "gen_ai.response.model": "gpt-5-2025-08-07",
        "gen_ai.response.id": "chatcmpl-1",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.response.time_to_first_chunk": 0.25,
        "gen_ai.agent.name": "planner",
        "server.address": "api.openai.com",
        "server.port": 443,
        "openai.request.service_tier": "flex",
        "openai.response.service_tier": "flex",
        "gen_ai.usage.input_tokens": 131,
        "gen_ai.usage.output_tokens": 35,
        "gen_ai.usage.cache_read.input_tokens": 21,
        "gen_ai.usage.cache_write.input_tokens": 10,
        "gen_ai.usage.cache_creation.input_tokens": 10,
        "gen_ai.usage.reasoning.output_tokens": 5,
        "gen_ai.usage.cost.status": "priced",
        "gen_ai.usage.cost.total": 0.0004275,
        "gen_ai.usage.cost.input": 0.0001275,
        "gen_ai.usage.cost.output": 0.0003,
    }


def test_what_is_unknown_is_left_out(call):
    span = call(
        usage=None,
        usage_source="missing",
        cost=Cost("unpriced", reasons=("no_usage",)),
        agent="unknown",
    )
    names = set(span.attributes)
    assert not any(name.startswith("gen_ai.usage") and "cost" not in name for name in names)
    assert "gen_ai.usage.cost.total" not in names
    assert "gen_ai.agent.name" not in names
    assert span.attributes["gen_ai.usage.cost.status"] == "unpriced"
    assert span.attributes["gen_ai.usage.cost.reasons"] == ("no_usage",)


def test_a_partial_cost_is_no_total(call, cost_of):
    lines = cost_of(input=1_000_000).priced_lines
    span = call(cost=Cost("partial", priced_lines=lines, reasons=("no_rate:reasoning",)))
    assert span.attributes["gen_ai.usage.cost.status"] == "partial"
    assert "gen_ai.usage.cost.total" not in span.attributes
    assert "gen_ai.usage.cost.input" not in span.attributes


def test_what_is_free_costs_nothing_which_is_known(call):
    span = call(cost=Cost("free", pico=0))
    assert span.attributes["gen_ai.usage.cost.total"] == 0
    assert span.attributes["gen_ai.usage.cost.status"] == "free"


def test_estimates_are_marked(call):
    assert call(usage_source="estimated").attributes["gen_ai.usage.estimated"] is True
    assert "gen_ai.usage.estimated" not in call().attributes


def test_fees_of_tools_stand_apart_from_tokens(call, cost_of):
    span = call(cost=cost_of(input=1_000_000, web_search=10_000_000_000))
    assert span.attributes["gen_ai.usage.cost.units"] == float(Decimal("0.01"))
    assert span.attributes["gen_ai.usage.cost.input"] == float(Decimal("0.000001"))


@pytest.mark.parametrize(("status", "error"), [("error", "429"), ("broken", "ReadTimeout")])
def test_a_failure_is_an_error_with_its_type(call, status, error):
    span = call(status=status, error_type=error, usage=None, cost=Cost("not_billed", pico=0))
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["error.type"] == error


def test_a_stream_that_was_left_early_is_no_error(call):
    span = call(status="aborted")
    assert span.status.status_code is StatusCode.UNSET
    assert "error.type" not in span.attributes


def test_several_entries_of_one_response_are_one_span_with_their_sums(call, record, cost_of):
    more = record(
        usage=Usage(input=1, output=2),
        cost=cost_of(output=1_000_000)._replace(status="derived"),
        response_model="gpt-5-mini",
    )
    span = call(more=[more])
    assert span.attributes["gen_ai.usage.input_tokens"] == 121
    assert span.attributes["gen_ai.usage.output_tokens"] == 37
    assert span.attributes["gen_ai.usage.cost.total"] == 0.0004285
    assert span.attributes["gen_ai.usage.cost.status"] == "derived"
    assert span.attributes["gen_ai.response.model"] == "gpt-5-mini"


def test_an_entry_without_a_price_leaves_the_call_without_a_total(call, record):
    span = call(more=[record(cost=Cost("unpriced", reasons=("unknown_model",)))])
    assert span.attributes["gen_ai.usage.cost.status"] == "partial"
    assert span.attributes["gen_ai.usage.cost.reasons"] == ("unknown_model",)
    assert "gen_ai.usage.cost.total" not in span.attributes


def test_the_span_ends_when_the_answer_ended(provider, exporter, record, request_of):
    spans = Spans(provider)
    handle = spans.start(request_of(), "planner")
    began = handle.started / 1e9
    spans.finish(handle, [record(time=began, duration=100.0)])
    span = exporter.get_finished_spans()[0]
    assert span.start_time == handle.started
    assert span.end_time - span.start_time == pytest.approx(100e9, abs=1e6)


def test_the_span_is_a_child_of_the_current_one_and_does_not_become_current(
    provider, exporter, record
):
    spans = Spans(provider)
    with provider.get_tracer("app").start_as_current_span("work") as work:
        handle = spans.start(record().request, "planner")
        assert trace.get_current_span() is work
    spans.finish(handle, [record()])
    ours = exporter.get_finished_spans()[-1]
    assert ours.parent.span_id == work.get_span_context().span_id
    assert handle.trace_id == f"{work.get_span_context().trace_id:032x}"
    assert handle.span_id == f"{ours.context.span_id:016x}"


def test_without_a_tracer_provider_there_is_no_trace_id(record):
    spans = Spans(trace.NoOpTracerProvider())
    assert spans.start(record().request, "planner") is None
    nowhere = trace.set_span_in_context(trace.INVALID_SPAN)
    handle = spans.start(record().request, "planner", nowhere)
    assert (handle.trace_id, handle.span_id) == (None, None)
    spans.finish(handle, [record()])


def test_a_call_that_is_not_sampled_still_knows_its_trace(record):
    provider = TracerProvider(sampler=ALWAYS_OFF)
    spans = Spans(provider)
    handle = spans.start(record().request, "planner")
    assert handle.trace_id is not None
    spans.finish(handle, [record()])
    provider.shutdown()


FOREIGN = {
    "the conventions": {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-5",
    },
    "older conventions": {"gen_ai.system": "openai", "gen_ai.request.model": "gpt-5"},
    "OpenInference": {"openinference.span.kind": "LLM", "llm.model_name": "gpt-5"},
    "OpenLLMetry": {"llm.request.type": "chat", "gen_ai.request.model": "gpt-5"},
    "a gateway": {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "my_gateway"},
}


@pytest.mark.parametrize("attributes", FOREIGN.values(), ids=FOREIGN.keys())
def test_inside_a_span_that_carries_the_usage_there_is_no_second_one(
    provider, exporter, record, attributes
):
    spans = Spans(provider)
    with provider.get_tracer("foreign").start_as_current_span(
        "chat gpt-5", kind=SpanKind.CLIENT, attributes=attributes
    ) as foreign:
        handle = spans.start(record().request, "planner")
        spans.finish(handle, [record()])
        assert foreign.is_recording()
    (only,) = exporter.get_finished_spans()
    assert handle.span_id == f"{only.context.span_id:016x}"
    added = set(only.attributes) - set(attributes)
    assert added == {
        "gen_ai.agent.name",
        "gen_ai.usage.input_tokens",
        "gen_ai.usage.output_tokens",
        "gen_ai.usage.cache_read.input_tokens",
        "gen_ai.usage.reasoning.output_tokens",
        "gen_ai.usage.cost.status",
        "gen_ai.usage.cost.total",
        "gen_ai.usage.cost.input",
        "gen_ai.usage.cost.output",
    }
    assert only.attributes["gen_ai.usage.cost.total"] == 0.0004275
    assert only.attributes["gen_ai.usage.input_tokens"] == 120


def test_the_calls_inside_one_foreign_span_add_up_there(provider, exporter, record):
    spans = Spans(provider)
    with provider.get_tracer("foreign").start_as_current_span(
        "generate_content", attributes=FOREIGN["the conventions"]
    ):
        for _ in range(3):
            spans.finish(spans.start(record().request, "planner"), [record()])
    (only,) = exporter.get_finished_spans()
    assert only.attributes["gen_ai.usage.cost.total"] == pytest.approx(3 * 0.0004275)
    assert only.attributes["gen_ai.usage.output_tokens"] == 3 * 35


class Wrapped(NonRecordingSpan):
    """A span of the kind that compares by value and so has no hash."""

    def __init__(self, span):
        super().__init__(span.get_span_context())
        self.span = span
        self.attributes = span.attributes
        self.set_attributes = span.set_attributes
        self.is_recording = span.is_recording

    def __eq__(self, other):
        return isinstance(other, Wrapped)


def test_calls_add_up_in_a_foreign_span_that_has_no_hash(provider, exporter, record):
    spans = Spans(provider)
    span = provider.get_tracer("foreign").start_span("chat", attributes=FOREIGN["the conventions"])
    with trace.use_span(Wrapped(span)):
        for _ in range(3):
            spans.finish(spans.start(record().request, "planner"), [record()])
    span.end()
    (only,) = exporter.get_finished_spans()
    assert only.attributes["gen_ai.usage.cost.total"] == pytest.approx(3 * 0.0004275)


def test_a_foreign_span_knows_the_agent_even_if_it_ends_before_the_call(provider, exporter, record):
    with provider.get_tracer("foreign").start_as_current_span(
        "chat", attributes=FOREIGN["the conventions"]
    ):
        Spans(provider).start(record().request, "planner")
    (only,) = exporter.get_finished_spans()
    assert only.attributes["gen_ai.agent.name"] == "planner"


def test_a_foreign_span_that_has_ended_is_left_alone(provider, exporter, record):
    spans = Spans(provider)
    with provider.get_tracer("foreign").start_as_current_span(
        "chat", attributes=FOREIGN["the conventions"]
    ):
        handle = spans.start(record().request, "planner")
    spans.finish(handle, [record()])
    (only,) = exporter.get_finished_spans()
    assert "gen_ai.usage.cost.total" not in only.attributes


OTHERS = {
    "an agent": {"gen_ai.operation.name": "invoke_agent", "gen_ai.request.model": "gpt-5"},
    "a tool": {"gen_ai.operation.name": "execute_tool"},
    "a chain": {"openinference.span.kind": "CHAIN", "llm.model_name": "gpt-5"},
    "a web request": {"http.request.method": "POST"},
    "another provider's call around a tool that asks ours": {
        "gen_ai.operation.name": "generate_content",
        "gen_ai.provider.name": "gcp.gemini",
        "gen_ai.request.model": "gemini-2.5-pro",
    },
}


@pytest.mark.parametrize("attributes", OTHERS.values(), ids=OTHERS.keys())
def test_other_spans_get_ours_as_a_child(provider, exporter, record, attributes):
    spans = Spans(provider)
    with provider.get_tracer("app").start_as_current_span("work", attributes=attributes):
        spans.finish(spans.start(record().request, "planner"), [record()])
    ours, work = exporter.get_finished_spans()
    assert ours.parent.span_id == work.context.span_id
    assert dict(work.attributes) == attributes


def test_anthropic_on_vertex_is_recognised_in_either_name(provider, exporter, record, request_of):
    request = request_of(provider="gcp.vertex_ai", vendor="anthropic", model="claude-opus-4-1")
    spans = Spans(provider)
    for name in ("anthropic", "gcp.vertex_ai"):
        with provider.get_tracer("foreign").start_as_current_span(
            "chat", attributes={"gen_ai.operation.name": "chat", "gen_ai.provider.name": name}
        ):
            assert spans.start(request, "planner").ours is False


def test_always_means_always(provider, exporter, call):
    with provider.get_tracer("foreign").start_as_current_span(
        "chat gpt-5", attributes=FOREIGN["the conventions"]
    ):
        assert call(mode="always").instrumentation_scope.name == "otel_llm_usage"


def test_never_means_never(call):
    assert call(mode="never") is None


@pytest.mark.parametrize("mode", ["auto", "always"])
def test_suppressed_instrumentation_opens_no_span(call, mode):
    assert suppressed() is False
    with suppress_instrumentation():
        assert suppressed() is True
        assert call(mode=mode) is None


def _suppressed(provider, request):
    with suppress_instrumentation():
        return Spans(provider).start(request, "planner")


def _usage_elsewhere(provider, request):
    token = context.attach(context.set_value("suppress_language_model_instrumentation", True))
    try:
        return Spans(provider).start(request, "planner")
    finally:
        context.detach(token)


WITHOUT_A_SPAN = {
    "never": lambda provider, request: Spans(provider, "never").start(request, "planner"),
    "suppressed": _suppressed,
    "usage elsewhere": _usage_elsewhere,
}


@pytest.mark.parametrize("start", WITHOUT_A_SPAN.values(), ids=WITHOUT_A_SPAN.keys())
def test_a_call_without_a_span_knows_the_trace_it_is_in_and_says_nothing_there(
    provider, exporter, record, start
):
    with provider.get_tracer("app").start_as_current_span("work") as work:
        handle = start(provider, record().request)
        spans = Spans(provider)
        assert spans.attach(handle) is None
        spans.finish(handle, [record()])
        assert trace.get_current_span() is work
    where = work.get_span_context()
    assert handle.trace_id == trace.format_trace_id(where.trace_id)
    assert handle.span_id == trace.format_span_id(where.span_id)
    assert handle.sampled
    (only,) = exporter.get_finished_spans()
    assert dict(only.attributes) == {}


@pytest.mark.parametrize("start", WITHOUT_A_SPAN.values(), ids=WITHOUT_A_SPAN.keys())
def test_outside_a_trace_a_call_without_a_span_has_no_trace(provider, record, start):
    assert start(provider, record().request) is None


def test_a_handle_says_whether_the_trace_is_sampled(provider, record):
    assert Spans(provider).start(record().request, "planner").sampled
    unsampled = TracerProvider(sampler=ALWAYS_OFF)
    handle = Spans(unsampled).start(record().request, "planner")
    assert handle.trace_id is not None
    assert not handle.sampled
    unsampled.shutdown()


def test_half_a_surrogate_pair_in_a_name_does_not_spoil_the_export(call):
    span = call(asked={"model": "gpt-\ud83d"}, agent="pl\ud83dnner")
    assert span.name == "chat gpt-?"
    assert span.attributes["gen_ai.agent.name"] == "pl?nner"
    assert span.attributes["gen_ai.request.model"] == "gpt-?"
