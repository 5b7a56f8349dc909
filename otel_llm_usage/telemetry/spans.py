"""One OpenTelemetry span for each call, unless somebody else's span tells of its usage already."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal

from opentelemetry import context, trace
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, Context
from opentelemetry.trace import (
    NonRecordingSpan,
    NoOpTracer,
    Span,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    TracerProvider,
)
from opentelemetry.util.types import AttributeValue

from .._version import __version__
from ..records import INPUT_KINDS, OUTPUT_KINDS, PICO, Record, Request, Usage
from . import others
from .otel_metrics import SCOPE
from .others import Beside
from .series import clean

_SUPPRESSED = (_SUPPRESS_INSTRUMENTATION_KEY, "suppress_instrumentation")
_USAGE_ELSEWHERE = "suppress_language_model_instrumentation"
"""Frameworks whose own span carries the usage set this around their calls of the SDK."""

_OPENAI = frozenset({"openai", "azure.ai.openai"})
_CALLS = frozenset({"LLM", "EMBEDDING"})
_NOT_CALLS = frozenset(
    {"create_agent", "execute_tool", "invoke_agent", "invoke_workflow", "plan", "retrieval"}
)
_MODEL_NAMES = ("gen_ai.request.model", "llm.model_name", "llm.request.model")
_PROVIDER_NAMES = ("gen_ai.provider.name", "gen_ai.system", "llm.provider", "llm.system")
_VENDORS = {
    "openai": "openai",
    "azure": "openai",
    "anthropic": "anthropic",
    "gcp": "google",
    "google": "google",
    "gemini": "google",
    "vertex": "google",
}

Mode = Literal["auto", "always", "never"]


class SpanHandle:
    """A span that tells of one call: ours, or one that was open already."""

    __slots__ = ("_where", "at_once", "ours", "span", "started")

    def __init__(self, span: Span, started: int, *, ours: bool, at_once: bool = False) -> None:
        self.span = span
        self.ours = ours
        self.started = started
        """Nanoseconds since the epoch."""
        self.at_once = at_once
        """Whether the span has to be told what came of the call before the call returns."""
        self._where = span.get_span_context()

    @property
    def traced(self) -> bool:
        """Whether it belongs to a trace."""
        return self._where.is_valid

    @property
    def trace_id(self) -> str | None:
        """32 hexadecimal digits, or `None` where nothing is traced."""
        return trace.format_trace_id(self._where.trace_id) if self.traced else None

    @property
    def span_id(self) -> str | None:
        """16 hexadecimal digits, or `None` where nothing is traced."""
        return trace.format_span_id(self._where.span_id) if self.traced else None

    @property
    def sampled(self) -> bool:
        """Whether the trace is recorded."""
        return self._where.trace_flags.sampled


class Spans:
    """Opens a span when a call begins and closes it with the records of the call."""

    def __init__(
        self,
        tracer_provider: TracerProvider | None = None,
        mode: Mode = "auto",
        *,
        provider_given: bool = False,
    ) -> None:
        """`auto` opens none inside a span that carries the usage of the same call; `never` opens
        none. `provider_given`: the user chose the provider, so it has to work.
        """
        self._tracer: Tracer = NoOpTracer()
        self.tracing = False
        """Whether a span may be opened outside of any trace."""
        self._mode = mode
        self._enriched: Beside[list[Record]] = Beside()
        self.flushing_waits: Callable[[], bool] = lambda: False
        """Whether who flushes a batch of spans waits for those that end a little after their calls."""
        self._processors: tuple[Any, bool] = (None, False)
        if mode != "never":
            provider = trace.get_tracer_provider() if tracer_provider is None else tracer_provider
            others.attempt("tracer_provider", lambda: self._open(provider), given=provider_given)

    def _open(self, provider: TracerProvider) -> None:
        self._tracer = provider.get_tracer(SCOPE, __version__)
        self.tracing = not isinstance(self._tracer, NoOpTracer)

    def start(
        self, request: Request, agent: str, place: Context | None = None
    ) -> SpanHandle | None:
        """The span of a call that begins now; `None` if there is no trace that it belongs to.

        `place`: the context in which the call was asked for, if not the current one.
        """
        if place is None:
            place = context.get_current()
        if not place and not self.tracing:
            return None
        started = time.time_ns()
        current = trace.get_current_span(place)
        if self._mode == "never" or suppressed(place):
            return _onlooker(current, started)
        if self._mode == "auto":
            if _carries_usage(current, request):
                # it may have ended by the time that we know more
                current.set_attributes(_known(_of_agent(agent)))
                return SpanHandle(current, started, ours=False, at_once=True)
            if context.get_value(_USAGE_ELSEWHERE, place) or others.instrumented():
                return _onlooker(current, started)
        name, attributes = _asked(
            request.operation,
            request.model,
            request.provider,
            request.stream,
            request.server_address,
            request.server_port,
            request.tier,
            agent,
        )
        span = self._tracer.start_span(
            name,
            place,
            SpanKind.CLIENT,
            attributes.copy(),  # a sampler may change them
            start_time=started,
        )
        at_once = span.is_recording() and not self._batched(span)
        return SpanHandle(span, started, ours=True, at_once=at_once)

    def _batched(self, span: Span) -> bool:
        """Whether nobody is told of the end of this span until the next batch is sent.

        Then it may end a little after its call: nobody can tell. Any other processor may look at its
        context, or expect it before the end of its parent.
        """
        # attributes of the SDK's own; a span that has none is told at once
        processors = getattr(getattr(span, "_span_processor", None), "_span_processors", None)
        if processors is None:
            return False
        known, batched = self._processors
        if known is not processors:
            batched = self.flushing_waits() and all(map(_sends_batches, processors))
            self._processors = (processors, batched)
        return batched

    def attach(self, handle: SpanHandle) -> object | None:
        """Make our span current while the SDK sends: what HTTP libraries trace belongs to it."""
        if not (handle.ours and handle.traced):
            return None
        return context.attach(trace.set_span_in_context(handle.span))

    def detach(self, handle: SpanHandle, token: Any) -> None:
        """Undo `attach`, unless somebody around us has put the context back already."""
        if trace.get_current_span() is handle.span:
            context.detach(token)

    def finish(self, handle: SpanHandle, records: Sequence[Record]) -> None:
        """Tell the span what came of the call."""
        span = handle.span
        if not span.is_recording():
            return
        if not handle.ours:
            # one outer span may be around several calls: they add up
            all_records = [*(self._enriched.get(span) or ()), *records]
            self._enriched.keep(span, all_records)
            # under the names that its owner uses, too: who writes them last writes the same
            span.set_attributes(_known({**_of_usage(all_records), **_of_cost(all_records)}))
            return
        last = records[-1]
        span.set_attributes(
            _known({**_of_response(records), **_of_usage(records), **_of_cost(records)})
        )
        if last.status in ("error", "broken"):
            span.set_attribute("error.type", last.error_type or "_OTHER")
            span.set_status(Status(StatusCode.ERROR))
        end = None if last.duration is None else int((last.time + last.duration) * 1e9)
        span.end(end_time=None if end is None else max(end, handle.started))


def _sends_batches(processor: object) -> bool:
    kind = type(processor)  # a derived class may do more
    return f"{kind.__module__}.{kind.__name__}" == _BATCH_PROCESSOR


_BATCH_PROCESSOR = "opentelemetry.sdk.trace.export.BatchSpanProcessor"


def _onlooker(span: Span, started: int) -> SpanHandle | None:
    """Where in a trace the call is, without a word on that span."""
    where = span.get_span_context()
    return SpanHandle(NonRecordingSpan(where), started, ours=False) if where.is_valid else None


def suppressed(place: Context | None = None) -> bool:
    """Whether we are inside `suppress_instrumentation()`: no spans there. Money is still counted."""
    place = context.get_current() if place is None else place
    return bool(place.get(_SUPPRESSED[0]) or place.get(_SUPPRESSED[1]))


def _carries_usage(span: Span, request: Request) -> bool:
    """Whether a foreign span tells of this very call, usage included."""
    attributes: Mapping[str, Any] | None = getattr(span, "attributes", None)
    if attributes is None or not span.is_recording():
        return False
    if getattr(span, "name", None) in _conventional_names(request):
        return True  # what it tells may be written at its end
    operation = attributes.get("gen_ai.operation.name")
    if operation in _NOT_CALLS:
        return False
    kind = attributes.get("openinference.span.kind")
    if kind is not None and kind not in _CALLS:
        return False
    if operation is None and kind is None and not _first(attributes, _MODEL_NAMES):
        return False
    theirs = _vendor(str(_first(attributes, _PROVIDER_NAMES) or ""))
    return theirs is None or theirs in (request.vendor, _vendor(request.provider))


def _conventional_names(request: Request) -> tuple[str, ...]:
    """What the conventions call the span of this call; packages do not agree on the operation."""
    return tuple(f"{operation} {request.model}" for operation in (request.operation, "chat"))


def _first(attributes: Mapping[str, Any], names: Iterable[str]) -> Any:
    return next((attributes[name] for name in names if name in attributes), None)


def _vendor(provider: str) -> str | None:
    words = provider.lower()
    return next((vendor for word, vendor in _VENDORS.items() if word in words), None)


@lru_cache(maxsize=256)
def _asked(
    operation: str,
    model: str | None,
    provider: str,
    stream: bool,
    address: str | None,
    port: int | None,
    tier: str | None,
    agent: str,
) -> tuple[str, dict[str, AttributeValue]]:
    """The name of a span, and what it says of the request: mostly the same as before."""
    attributes = _known(
        {
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": provider,
            "gen_ai.request.model": model,
            "gen_ai.request.stream": stream or None,
            "server.address": address,
            "server.port": port if address else None,
            "openai.request.service_tier": tier if provider in _OPENAI else None,
            **_of_agent(agent),
        }
    )
    return clean(f"{operation} {model or ''}".rstrip()), attributes


def _of_agent(agent: str) -> dict[str, AttributeValue | None]:
    return {"gen_ai.agent.name": None if agent == "unknown" else agent}


def _of_response(records: Sequence[Record]) -> dict[str, AttributeValue | None]:
    last = records[-1]
    model = response_id = finish_reasons = None
    for record in records:
        model = record.response_model or model
        response_id = record.response_id or response_id
        finish_reasons = record.finish_reasons or finish_reasons
    tier = last.tier if last.tier != "standard" and last.provider in _OPENAI else None
    return {
        "gen_ai.response.model": model,
        "gen_ai.response.id": response_id,
        "gen_ai.response.finish_reasons": finish_reasons,
        "gen_ai.response.time_to_first_chunk": last.time_to_first_chunk,
        "openai.response.service_tier": tier,
    }


def _of_usage(records: Sequence[Record]) -> dict[str, AttributeValue | None]:
    """Counts that include their parts, as the conventions want them."""
    usage = _together([record.usage for record in records if record.usage is not None])
    estimated = any(record.estimated for record in records) or None
    if usage is None:
        return {"gen_ai.usage.estimated": estimated}
    writes = usage.cache_write_tokens
    return {
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cache_read_tokens,
        "gen_ai.usage.cache_write.input_tokens": writes,
        # the name until conventions 1.41, which most backends read
        "gen_ai.usage.cache_creation.input_tokens": writes,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning,
        "gen_ai.usage.estimated": estimated,
    }


def _together(usages: list[Usage]) -> Usage | None:
    """All usages as one."""
    if len(usages) < 2:
        return usages[0] if usages else None
    return Usage(*(_sum(counts) for counts in zip(*usages, strict=True)))


def _of_cost(records: Sequence[Record]) -> dict[str, AttributeValue | None]:
    """US dollars where they are known, and otherwise why they are not."""
    costs = [record.cost for record in records]
    statuses = {cost.status for cost in costs}
    attributes: dict[str, AttributeValue | None] = {
        "gen_ai.usage.cost.status": _one_status(statuses),
        "gen_ai.usage.cost.reasons": tuple(
            dict.fromkeys([reason for cost in costs for reason in cost.reasons])
        ),
    }
    totals = [cost.pico for cost in costs if cost.pico is not None]
    if len(totals) < len(costs):
        return attributes
    attributes["gen_ai.usage.cost.total"] = sum(totals) / PICO
    sides: dict[str, int] = {}
    for cost in costs:
        for line in cost.priced_lines:
            side = _SIDE.get(line.sku, _UNITS)
            sides[side] = sides.get(side, 0) + line.pico
    for side, pico in sides.items():
        if pico:
            attributes[side] = pico / PICO
    return attributes


_SIDE = dict.fromkeys(INPUT_KINDS, "gen_ai.usage.cost.input") | dict.fromkeys(
    OUTPUT_KINDS, "gen_ai.usage.cost.output"
)
_UNITS = "gen_ai.usage.cost.units"


def _one_status(statuses: set[Any]) -> str:
    """One status for several entries: what is unknown of one is unknown of all."""
    if len(statuses) == 1:
        return str(next(iter(statuses)))
    if statuses & {"partial", "unpriced"}:
        return "partial"
    return "derived" if "derived" in statuses else "priced"


def _sum(counts: Iterable[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _known(attributes: Mapping[str, AttributeValue | None]) -> dict[str, AttributeValue]:
    return {
        name: clean(value) if isinstance(value, str) else value
        for name, value in attributes.items()
        if value is not None and value != ()
    }
