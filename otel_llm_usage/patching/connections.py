"""A connection that stays open: many answers, each a call of its own with a place in it."""

from decimal import Decimal
from typing import Any
from weakref import ref

from opentelemetry import context as otel_context
from opentelemetry import trace

from .. import guard, providers, scope
from ..meter import Call, Outcome
from ..records import Reading, Request
from .observation import Meters, Observation, OnAbort, Reader, begin


class Part(Observation):
    """One answer of a connection, read along until its last event."""

    __slots__ = ()

    def __init__(self, call: Call, reader: Reader, on_abort: OnAbort) -> None:
        super().__init__(call, reader, on_abort, None)
        # its first event says that it begins: nothing of the answer has come with that
        self._events = True

    def piece(self) -> None:
        """A piece of the answer is here."""
        self.call.chunk_arrived()

    def told(self, unit: str) -> int | Decimal | None:
        """How much of a unit was told until now."""
        return next((one.units[unit] for one in self.reader.readings() if unit in one.units), None)

    def _outcome(self, *how: Any) -> Outcome:
        outcome = super()._outcome(*how)
        if outcome.reason == "stream_aborted" and any(one.units for one in outcome.readings):
            # what was told until then stands: it is a total so far, and no guess
            return outcome._replace(source="partial", reason=None)
        return outcome

    def _unfinished(self, outcome: Outcome, readings: tuple[Reading, ...]) -> Outcome:
        outcome = super()._unfinished(outcome, readings)
        if outcome.source != "estimated":
            return outcome
        *others, last = outcome.readings
        told = readings[-1].usage if readings else None
        if last.usage is None or (told is not None and told.input_tokens is not None):
            return outcome
        # what was sent over the connection nobody looked at, and there may be a history: not zero
        return outcome._replace(
            readings=(*others, last._replace(usage=last.usage._replace(input=None))),
            estimated_kinds=tuple(kind for kind in outcome.estimated_kinds if kind != "input"),
        )


class Conversation:
    """What is remembered of one connection for as long as it lives. Never the connection itself."""

    __slots__ = ("__weakref__", "_alive", "_pays", "_place", "over")

    def __init__(self, connection: Any) -> None:
        key = id(connection)
        self._alive = ref(connection, lambda _: known.pop(key, None))
        known[key] = self
        self._place = otel_context.get_current()
        self._pays = any(scope.payer())
        self.over = False
        """The caller has closed it: whatever comes late belongs to no call."""

    def begin(self, meters: Meters, request: Request, on_abort: OnAbort = "ignore") -> Part | None:
        """An answer begins.

        It is charged to the agent and the labels of the task that receives it, or, where that has
        none, to those of the moment when the connection was made.
        """
        token = None
        if not any(scope.payer()) and (self._pays or not _inside_a_span()):
            token = otel_context.attach(scope.lent(self._place))
        try:
            call = begin(meters.meter, request)
        finally:
            if token is not None:
                otel_context.detach(token)
        if call is None:
            return None
        reader = guard.call("read", providers.reader, request)
        if reader is None:
            call.settle(Outcome("broken", reason="instrumentation_error"))
            return None
        return Part(call, reader, on_abort)


known: dict[int, Any] = {}
"""What is remembered of each connection, by its `id`, until it dies.

It outlives a runtime, so that nothing is counted twice. A `WeakKeyDictionary` takes several times as
long to look into, and each message is looked up.
"""


def _inside_a_span() -> bool:
    return trace.get_current_span().get_span_context().is_valid


_OVER = frozenset({"ConnectionClosed", "APIError", "WebSocketConnectionClosedError"})
"""Errors of `websockets` and of the SDKs after which nothing more can be received."""


def is_over(error: BaseException) -> bool:
    """Whether the connection has ended. A cancelled, or a second, `recv` has not ended it."""
    if isinstance(error, OSError):
        return not isinstance(error, TimeoutError)
    return any(kind.__name__ in _OVER for kind in type(error).__mro__)


def address(websocket: Any) -> str:
    """The URL of a websocket as one of HTTP; empty where it can't be told."""
    request = getattr(websocket, "request", None)
    headers, path = getattr(request, "headers", None), getattr(request, "path", None)
    if headers is None or not isinstance(path, str):
        return ""
    uri = getattr(getattr(websocket, "protocol", None), "uri", None)
    scheme = "https" if getattr(uri, "secure", True) else "http"
    return f"{scheme}://{headers.get('Host', '')}{path}"
