"""One response under observation: from its bytes to the one outcome of its call."""

import weakref
from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal, NamedTuple, Protocol

from .. import forks, guard, providers
from ..meter import Call, Meter, Outcome
from ..records import KINDS, Reading, Request, Usage
from . import jobs, wire

OnAbort = Literal["estimate", "drain", "ignore"]
"""What to do about a stream that the caller leaves early: estimate what is not known from the
delivered text; read it to its end in the background; or count it as unknown."""

How = Literal["eof", "closed", "failed", "dropped", "shutdown"]


RequestBody = bytes | None | Callable[[], bytes | None]
"""What was sent, or what finds it: for an estimate, where the answer was not read to its end."""


class UnderWay(Protocol):
    """What can be ended from outside: a response that is being read, a request without an answer."""

    def finish(self, how: How) -> None: ...
    def disown(self) -> None: ...


live: "dict[int, weakref.ref[Observation]]" = {}
"""Responses that are being read, by their `id`; settled at shutdown."""

waiting: set[UnderWay] = set()
"""Requests that have no answer yet; settled at shutdown."""


learner: Callable[[Request, tuple[Reading, ...], Callable[[], bytes | None]], None] | None = None
"""Who is told what was sent, and what was billed for it, of answers that came whole."""


class Meters(NamedTuple):
    """What the seams are given: where calls begin, and what the user chose."""

    meter: Meter
    on_abort: OnAbort = "estimate"
    stream_usage: Mapping[str, str] = {}
    """By host: `auto`, `always` or `never` ask for the usage of an OpenAI chat stream."""
    hosts: Mapping[str, str] = {}


class Reader(Protocol):
    """What an observation needs of a provider's reader."""

    complete: bool
    failed: str | None
    delivered: int
    billed: bool
    pending: bool
    needs_body: bool
    text_mark: bytes | None
    response_id: str | None

    def body(self, raw: bytes | str, headers: Mapping[str, str] | None = None) -> None: ...
    def event(self, data: bytes | str, name: str | None = None) -> bool | None: ...
    def headers(self, headers: Mapping[str, str]) -> None: ...
    def readings(self) -> tuple[Reading, ...]: ...


class _Failure(NamedTuple):
    """What is kept of an exception."""

    type: str
    callers: bool
    """Cancellation and interrupts are the caller's doing, not the provider's."""

    @classmethod
    def of(cls, error: BaseException) -> "_Failure":
        return cls(type(error).__name__, not isinstance(error, Exception))


class Answer:
    """An answer that is read, and what comes of it."""

    __slots__ = ("_events", "_on_abort", "_request_body", "call", "reader")

    def __init__(
        self,
        call: Call,
        reader: Reader,
        on_abort: OnAbort,
        request_body: RequestBody,
    ) -> None:
        self.call = call
        self.reader = reader
        self._on_abort = on_abort
        self._request_body = request_body
        self._events = False

    def whole(self, raw: bytes | str) -> Outcome:
        """The outcome of a response that is read as a whole.

        It is a body, or a stream of events where none was asked for.
        """
        if isinstance(raw, str) or not wire.is_events(raw):
            return self._body(raw)
        self._events = True
        self.call.first_chunk = self.call.first_chunk or self.call.duration
        for data, name in wire.events_of(raw):
            guard.call("read", self.reader.event, data, name)
        return self._outcome("eof", None)

    def _body(self, raw: bytes | str) -> Outcome:
        guard.call("read", self.reader.body, raw)
        return self._outcome("eof", None)

    def settle(self, evidence: Callable[[], Outcome]) -> None:
        """The call ends with this; if its work goes on, a later answer ends it."""
        if not jobs.goes_on(self.call.request):
            self.call.settle(evidence)
            return
        # now: the next request of the caller may be for the end of it
        outcome = guard.call("observe", evidence) or Outcome(
            "broken", reason="instrumentation_error"
        )
        work = self.reader.response_id if self.reader.pending else None
        # whoever leaves such a stream does not stop it
        if not jobs.hold(self.call, work, outcome._replace(status="ok", error_type=None)):
            self.call.settle(outcome)

    def _outcome(self, how: How, error: "_Failure | None") -> Outcome:
        reader = self.reader
        readings = reader.readings()
        finished = reader.complete or (
            how == "eof" and bool(readings) and all(reading.final for reading in readings)
        )
        status, error_type = self._status(how, error, finished)
        if reader.pending:
            return Outcome(status, readings, error_type=error_type, reason="background")
        if not reader.billed:
            return Outcome(status, readings, billed=False, error_type=error_type)
        outcome = Outcome(status, readings, "reported", error_type=error_type)
        if any(reading.bad for reading in readings if reading.notes):
            return outcome._replace(source="bad", reason="bad_usage")
        known = [reading for reading in readings if reading.usage is not None or reading.units]
        if finished or (how == "eof" and not self._events):
            if not known:
                return outcome._replace(source="missing", reason="no_usage")
            if learner is not None:
                guard.call("estimates", learner, self.call.request, readings, self._asked)
            return outcome
        if known and all(_both_sides(reading.usage) for reading in known):
            return outcome._replace(source="reported" if _final(known) else "partial")
        return self._unfinished(outcome, readings)

    def _status(
        self, how: How, error: "_Failure | None", finished: bool
    ) -> tuple[Literal["ok", "error", "aborted", "broken"], str | None]:
        failed = self.reader.failed
        if failed is not None:
            return ("broken" if self._events else "error"), failed
        if finished:
            return "ok", None
        if how == "failed" and error is not None:
            return ("aborted" if error.callers else "broken"), error.type
        if how == "eof":
            return ("broken", "incomplete_stream") if self._events else ("ok", None)
        return "aborted", None

    def _asked(self) -> bytes | None:
        body = self._request_body
        return body() if callable(body) else body

    def _unfinished(self, outcome: Outcome, readings: tuple[Reading, ...]) -> Outcome:
        if self._on_abort == "ignore":
            unknown = tuple(reading._replace(usage=None) for reading in readings)
            return outcome._replace(source="missing", reason="stream_aborted", readings=unknown)
        last = readings[-1] if readings else Reading()
        usage = providers.estimate(
            self.call.request, self._asked(), self.reader.delivered, last.usage
        )
        if not self.call.request.stream:
            usage = usage._replace(output=None)  # the answer was not read: nobody saw its length
        told = last.usage or Usage()
        return outcome._replace(
            source="estimated",
            readings=(*readings[:-1], last._replace(usage=usage, final=False)),
            estimated_kinds=tuple(
                kind
                for kind, ours, theirs in zip(KINDS, usage, told, strict=True)
                if ours != theirs
            ),
        )


class Observation(Answer):
    """Reads along, never holds the response, and settles its call exactly once."""

    __slots__ = ("__weakref__", "_done")

    def __init__(
        self,
        call: Call,
        reader: Reader,
        on_abort: OnAbort,
        request_body: RequestBody,
    ) -> None:
        super().__init__(call, reader, on_abort, request_body)
        self._done = False
        live[id(self)] = weakref.ref(self)

    @property
    def open(self) -> bool:
        return not self._done

    @property
    def needs_body(self) -> bool:
        """Whether a body that is no stream of events has to be kept until its end."""
        return self.reader.needs_body

    @property
    def wants_draining(self) -> bool:
        """Whether the rest of a stream that is being left should be read in the background."""
        return self._on_abort == "drain" and not self._done and not self.reader.complete

    @property
    def text_mark(self) -> bytes | None:
        """What stands before the text in an event that holds nothing else."""
        return self.reader.text_mark

    def headers(self, headers: Mapping[str, str]) -> None:
        """The response's headers, once."""
        guard.call("read", self.reader.headers, headers)

    def event(self, data: bytes | str, name: str | None = None) -> bool:
        """The data of one event of a stream; True if it held nothing but a piece of text."""
        if self._done:
            return False
        if not self._events:
            self._events = True
            self.call.chunk_arrived()
        return bool(guard.call("read", self.reader.event, data, name))

    def delivered(self, text: bytes) -> None:
        """Such an event, of which the text is known already."""
        plain = text.isascii() and b"\\" not in text
        self.reader.delivered += len(text) if plain else providers.length(text)

    def body(self, raw: bytes | str) -> None:
        """A whole body, and with it the end."""
        self._end(partial(self._body, raw))

    def content(self, raw: bytes) -> None:
        """See `whole`: the bytes of a whole response, and with them the end."""
        self._end(partial(self.whole, raw))

    def finish(self, how: How, error: BaseException | None = None) -> None:
        """The response ended this way. Only the first word counts. Never raises."""
        if not self._done:
            # an error holds the frames it came through, and with them whatever the caller has there
            failure = None if error is None else _Failure.of(error)
            self._end(partial(self._outcome, how, failure))

    def _end(self, evidence: Callable[[], Outcome]) -> None:
        if not self._done:
            self._done = True
            live.pop(id(self), None)
            self.settle(evidence)

    def disown(self) -> None:
        """Settle nothing: the call is another process's."""
        self._done = True

    def __del__(self) -> None:
        self.finish("dropped")


def observe(call: Call, on_abort: OnAbort, request_body: RequestBody) -> Observation | None:
    """An observation of a call's response; a call that cannot have one ends here."""
    reader = guard.call("read", providers.reader, call.request)
    if reader is None:
        call.settle(Outcome("broken", reason="instrumentation_error"))
        return None
    return Observation(call, reader, on_abort, request_body)


def take_whole(
    call: Call,
    on_abort: OnAbort,
    raw: bytes | str,
    headers: Mapping[str, str],
    request_body: RequestBody,
) -> None:
    """A response that was read already: its call ends here, and what it says is read later."""
    request = call.request
    if jobs.goes_on(request):
        reader = providers.reader(request)
        guard.call("read", reader.headers, headers)
        answer = Answer(call, reader, on_abort, request_body)
        answer.settle(partial(answer.whole, raw))
        return
    call.settle(partial(_taken, call, on_abort, raw, headers, request_body))


def _taken(
    call: Call,
    on_abort: OnAbort,
    raw: bytes | str,
    headers: Mapping[str, str],
    request_body: RequestBody,
) -> Outcome:
    reader = providers.reader(call.request)
    guard.call("read", reader.headers, headers)
    return Answer(call, reader, on_abort, request_body).whole(raw)


def _final(readings: list[Reading]) -> bool:
    return all(reading.final for reading in readings)


def _both_sides(usage: Usage | None) -> bool:
    return usage is not None and usage.input_tokens is not None and usage.output_tokens is not None


def settle_failed(call: Call, error: BaseException) -> None:
    """The request raised: nothing is billed if the provider said so, else we cannot know."""
    http_status = getattr(error, "status_code", None) or getattr(error, "code", None)
    if isinstance(http_status, int) and isinstance(error, Exception) and 400 <= http_status < 600:
        call.settle(
            Outcome("error", billed=False, error_type=str(http_status), http_status=http_status)
        )
        return
    mine = isinstance(error, Exception)
    call.settle(
        Outcome(
            "error" if mine else "aborted",
            billed=not _reached_nobody(error),
            error_type=type(error).__name__,
            reason="no_response",
        )
    )


_NOT_CONNECTED = frozenset(
    {
        "ConnectError",  # httpx, httpx2
        "ConnectTimeout",
        "PoolTimeout",
        "ProxyError",
        "UnsupportedProtocol",
        "LocalProtocolError",
        "ClientConnectorError",  # aiohttp
        "ConnectionTimeoutError",
        "NewConnectionError",  # requests, by urllib3
        "ConnectTimeoutError",
        "ConnectionRefusedError",
        "gaierror",
        "GoogleAuthError",  # no credentials, no request
    }
)
"""Types of errors of the HTTP libraries after which no provider has seen the request."""


def _reached_nobody(error: BaseException) -> bool:
    """Whether no connection was made: then there is nothing to bill."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        if any(kind.__name__ in _NOT_CONNECTED for kind in type(cause).__mro__):
            return True
        reason = getattr(cause, "reason", None)  # urllib3 keeps it there
        cause = reason if isinstance(reason, BaseException) else cause.__cause__
    return False


@forks.in_child
def _forget_inherited() -> None:
    """A forked child: what its parent is waiting for and reading, its parent will count."""
    for under_way in _under_way():
        under_way.disown()
    waiting.clear()
    live.clear()


def settle_live() -> None:
    """At shutdown: what is still under way is settled with what is known."""
    for under_way in _under_way():
        under_way.finish("shutdown")
    jobs.end()


def _under_way() -> list[UnderWay]:
    # each copy is one step of the interpreter: others may begin and end calls meanwhile
    reading = [reference() for reference in list(live.values())]
    return [*tuple(waiting), *(one for one in reading if one is not None)]


def begin(meter: Meter, request: Request) -> Call | None:
    """Begin a call, unless that fails."""
    return guard.call("begin", meter.begin, request)
