"""The one path of a call: begin, then settle exactly once; everything else reads the record."""

import itertools
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol

from . import backlog, forks, guard
from .records import Cost, Pricer, Reading, Record, Request, Sink

logger = logging.getLogger("otel_llm_usage")

UsageSource = Literal["reported", "partial", "estimated", "missing", "bad"]

NOT_BILLED = Cost("not_billed", pico=0)
"""The request failed, and the provider bills nothing for it."""


class SpanHandle(Protocol):
    """What the meter needs to know of a span."""

    @property
    def trace_id(self) -> str | None: ...
    @property
    def span_id(self) -> str | None: ...
    @property
    def sampled(self) -> bool: ...
    @property
    def at_once(self) -> bool: ...


class Spans(Protocol):
    """Opens a span when a call begins, closes it with the records of the call."""

    tracing: bool

    def start(self, request: Request, agent: str, place: Any) -> Any: ...
    def attach(self, handle: Any) -> Any: ...
    def detach(self, handle: Any, token: Any) -> None: ...
    def finish(self, handle: Any, records: Sequence[Record]) -> None: ...


class Outcome(NamedTuple):
    """How a call ended, and what it was told of the bill."""

    status: Literal["ok", "error", "aborted", "broken"]
    readings: tuple[Reading, ...] = ()
    source: UsageSource = "missing"
    billed: bool = True
    """False when the provider is known to bill nothing: an error status, a refusal."""
    error_type: str | None = None
    http_status: int | None = None
    reason: str | None = None
    """Why there is no usage, if there is none."""
    estimated_kinds: tuple[str, ...] = ()
    """Which counts of the last reading are our estimate."""
    error_message: str | None = None
    """What the user says of it; nothing that was seen by itself is kept."""


Evidence = Outcome | Callable[[], Outcome]
"""How a call ended, or what finds that out from the answer: the caller need not wait for it."""


class Meter:
    """Where calls begin, and where their records come out."""

    def __init__(
        self,
        *,
        price: Pricer,
        sinks: Sequence[tuple[str, Sink]] = (),
        spans: Spans | None = None,
        touch: Callable[[Request, str, Mapping[str, str]], object] | None = None,
        wake: Callable[[], object] | None = None,
        attribute: Callable[[], tuple[str, Mapping[str, str], Sequence[Any], Any]],
        hush: Callable[[], Callable[[], object] | None] | None = None,
    ) -> None:
        """`touch` is told of each call that begins, `wake` of the first one. `attribute` says who pays:
        the agent, the labels, the scopes that gather it, and the OpenTelemetry context in which the call
        was asked for. `hush` keeps what is meant for other services from the provider, until what it
        gives is called.

        `sinks` are ours: they are handed each record by one thread at a time, soon after the call.
        """
        self._price = price
        self._sinks = tuple(sinks)
        self.spans = spans
        self._touch = touch
        self.wake = wake
        self._attribute = attribute
        self.hush = hush
        self._said: set[tuple[str, str, str]] = set()

    def begin(self, request: Request) -> "Call":
        """A request is about to be sent: fix who pays, open the span, show the zero."""
        if self.wake is not None:
            self._awake()
        agent, labels, scopes, place = self._attribute()
        call = Call(self, request, agent, labels, scopes)
        if self._touch is not None:
            guard.call("begin", self._touch, request, agent, labels)
        spans = self.spans
        if spans is not None and (place or spans.tracing):
            call.span = guard.call("spans.start", spans.start, request, agent, place)
        return call

    def _awake(self) -> None:
        """In each process, at the first call."""
        wake, self.wake = self.wake, None
        if wake is not None:
            guard.call("begin", wake)

    def record(
        self, request: Request, outcome: Outcome, *, duration: float | None, at: float
    ) -> Record:
        """A call that nobody saw is told by hand; its (first) record."""
        agent, labels, scopes, _ = self._attribute()
        call = Call(self, request, agent, labels, scopes)
        call.time, call.duration = at, duration
        self._awake()
        backlog.watch()
        records = self.conclude(call, outcome)
        backlog.counting.later(self.tell, records, scopes)
        return records[0]

    def emit(self, call: "Call", evidence: Evidence) -> None:
        """From the end of a call to its records, and to everybody who takes them."""
        self.tell(self.conclude(call, evidence), call.scopes)

    def conclude(self, call: "Call", evidence: Evidence) -> list[Record]:
        """The records of a call, one for each reading; its span is told, and ends."""
        if isinstance(evidence, Outcome):
            outcome = evidence
        else:
            outcome = guard.call("observe", evidence) or _FAULT_OF_OURS
        if call.id is None:
            call.id = f"{_process_id}{next(_numbers):016x}"
        readings = outcome.readings or (Reading(),)
        records = [
            self._record(call, outcome, reading, index, last=reading is readings[-1])
            for index, reading in enumerate(readings)
        ]
        if self.spans is not None and call.span is not None:
            guard.call("spans.finish", self.spans.finish, call.span, records)
        if outcome.source != "reported":
            self._say(call.request, outcome)
        return records

    def tell(self, records: Sequence[Record], scopes: Sequence[Any] = ()) -> None:
        """Hand the records of a call to everybody."""
        for record in records:
            for name, sink in self._sinks:
                guard.call(name, sink, record)
            for scope in scopes:
                guard.call("scopes", scope.add, record)

    def _say(self, request: Request, outcome: Outcome) -> None:
        """A provider's fault shows in the metrics each time, and in the log once."""
        fault = _fault(outcome)
        if fault is None:
            return
        said = (request.provider, request.endpoint, fault)
        if said in self._said or len(self._said) >= _MOST_SAID:
            return
        self._said.add(said)
        logger.warning(
            "The usage of an answer cannot be counted in full: %s, %s, %s (%s). Your call is not "
            "affected. Further ones are only counted (llm_usage_missing_total, "
            "llm_estimated_tokens_total).",
            request.provider,
            request.endpoint,
            request.model,
            fault,
        )

    def _record(
        self, call: "Call", outcome: Outcome, reading: Reading, index: int, *, last: bool
    ) -> Record:
        usage = reading.usage if outcome.billed else None
        return Record(
            id=f"{call.id}-{index}" if index else str(call.id),
            time=call.time,
            request=call.request,
            status=outcome.status,
            usage=usage,
            usage_source=outcome.source,
            cost=self._cost(call, outcome, reading),
            units=reading.units,
            response_model=reading.model,
            response_id=reading.response_id,
            tier=reading.tier,
            region=reading.region or call.request.region,
            entry=reading.entry,
            finish_reasons=reading.finish_reasons,
            duration=call.duration,
            time_to_first_chunk=call.first_chunk,
            error_type=outcome.error_type,
            http_status=outcome.http_status,
            agent=call.agent,
            labels=call.labels,
            trace_id=getattr(call.span, "trace_id", None),
            span_id=getattr(call.span, "span_id", None),
            notes=reading.notes,
            estimated_kinds=outcome.estimated_kinds if last else (),
            trace_sampled=getattr(call.span, "sampled", True),
            error_message=outcome.error_message,
            scopes=tuple([scope.id for scope in call.scopes]),
        )

    def _cost(self, call: "Call", outcome: Outcome, reading: Reading) -> Cost:
        if not outcome.billed:
            return NOT_BILLED
        if reading.usage is None and not reading.units and outcome.reason is not None:
            return Cost("unpriced", reasons=(outcome.reason,))
        cost = guard.call("prices", self._price, call.request, reading, call.time)
        return cost or Cost("unpriced", reasons=("pricing_failed",))


_FAULT_OF_OURS = Outcome("broken", reason="instrumentation_error")
_MOST_SAID = 1000


def _fault(outcome: Outcome) -> str | None:
    """Why an answer that may be billed has no usage, unless that is the caller's doing."""
    if not outcome.billed or outcome.status == "aborted":
        return None
    if outcome.source == "bad":
        return next(filter(None, (reading.bad for reading in outcome.readings)), outcome.reason)
    return outcome.error_type or outcome.reason


class Call:
    """One passage along the path. `settle` may be called from anywhere; the first one counts."""

    __slots__ = (
        "_begun",
        "_meter",
        "_unsettled",
        "agent",
        "attached",
        "duration",
        "first_chunk",
        "id",
        "labels",
        "request",
        "scopes",
        "seen",
        "span",
        "time",
    )

    def __init__(
        self,
        meter: Meter,
        request: Request,
        agent: str,
        labels: Mapping[str, str],
        scopes: Sequence[Any],
    ) -> None:
        self._meter = meter
        self._unsettled = [True]
        self.attached: tuple[Any, Callable[[], object] | None] | None = None
        """What ends the time in which its span is the current one, and nothing is said to others."""
        self._begun = time.perf_counter()
        self.time = time.time()
        self.id: str | None = None
        """Of its first record; made with it, unless what is counted has an id already."""
        self.request = request
        self.agent = agent
        self.labels = labels
        self.scopes = scopes
        self.span: SpanHandle | None = None
        self.duration: float | None = None
        """Seconds until it ended."""
        self.first_chunk: float | None = None
        self.seen = False
        """Whether a successful response of this call was met: it is observed once."""

    @property
    def settled(self) -> bool:
        return not self._unsettled

    def elapsed(self) -> float:
        """Seconds since the call began."""
        return time.perf_counter() - self._begun

    def activate(self) -> None:
        """Make the span current: the SDK is about to send. In the task that will deactivate it."""
        spans, hush = self._meter.spans, self._meter.hush
        if self.attached is None:
            hushed = None if hush is None else guard.call("baggage", hush)
            token = None
            if spans is not None and self.span is not None:
                token = guard.call("spans.attach", spans.attach, self.span)
            if token is not None or hushed is not None:
                self.attached = token, hushed

    def deactivate(self) -> None:
        """The answer is there, or the request has failed. May be called again."""
        if self.attached is None:
            return
        (token, hushed), self.attached = self.attached, None
        if token is not None and self._meter.spans is not None:
            guard.call("spans.detach", self._meter.spans.detach, self.span, token)
        if hushed is not None:
            guard.call("baggage", hushed)

    def chunk_arrived(self) -> None:
        """Remember when the first event of a stream came."""
        if self.first_chunk is None:
            self.first_chunk = self.elapsed()

    def settle(self, evidence: Evidence) -> bool:
        """End the call; False if that had happened before. Never raises, and does not wait.

        What comes of it is found out by a thread of ours; but where a span has to end with the call,
        the answer is read here and now.
        """
        try:
            self._unsettled.pop()  # one atomic step decides between threads and finalisers
        except IndexError:
            return False
        self.duration = time.perf_counter() - self._begun
        span = self.span
        if span is not None and span.at_once and not backlog.collecting():
            try:
                records = guard.call("settle", self._meter.conclude, self, evidence)
            except BaseException:  # an interrupt is the caller's; the record is ours
                backlog.counting.later(self._meter.emit, self, evidence)
                raise
            backlog.counting.later(self._meter.tell, records or (), self.scopes)
        else:
            backlog.counting.later(self._meter.emit, self, evidence)
        return True


@forks.in_child
def _renew_process_id() -> None:
    global _process_id, _numbers
    _process_id = os.urandom(8).hex()
    _numbers = itertools.count()


_process_id: str
_numbers: "itertools.count[int]"
_renew_process_id()
