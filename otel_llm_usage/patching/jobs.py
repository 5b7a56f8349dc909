"""What goes on at a provider after its request was answered: remembered, and counted once.

A call whose work goes on in the background is held until somebody looks at its end. Batches and
agents that a provider runs are counted by whoever sees their ends first, under ids that every process
makes alike, so that a ledger can tell what two processes have seen.

No lock anywhere: what decides between threads is one step of a dict, and the garbage collector may
end a stream in the middle of any of this.
"""

import io
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

from opentelemetry import context, trace
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, Context
from opentelemetry.trace import NonRecordingSpan

from .. import backlog, forks, guard, providers, scope
from ..meter import Call, Meter, Outcome
from ..providers import jobs
from ..providers.jobs import begun as begun
from ..records import Reading, Request
from . import wire

MOST = 10_000
"""Pieces of work that are remembered; a longer memory is not worth what it holds."""
MOST_COUNTED = 100_000
"""Ids of what was counted that are remembered."""
MOST_LINES = 1_000_000
"""Lines that are remembered, of batches whose results were read in part."""
FOR = 48 * 3600.0
"""Seconds after which nobody is expected to ask any more."""

Key = tuple[str, str]
"""Provider, and its id of the work."""


class _Held(NamedTuple):
    """A call whose bill comes with a later answer."""

    call: Call
    so_far: Outcome
    since: float

    def give_up(self) -> None:
        """Nobody has seen the end of it."""
        self.call.settle(self.so_far)


class _Results:
    """A batch that has ended, and whose lines tell its bill."""

    __slots__ = ("batch", "bill", "meter", "payer", "request", "seen", "since")

    def __init__(
        self, meter: Meter, batch: str, request: Request, payer: Context, bill: jobs.Bill | None
    ) -> None:
        self.meter = meter
        self.batch = batch
        self.request = request
        self.payer = payer
        self.bill = bill
        """What is known without the lines, and has to be said if nobody reads them."""
        self.seen: dict[int, object] = {}
        self.since = time.monotonic()

    def give_up(self) -> None:
        """Nobody has read its lines: that it has ended is all that is known."""
        bill, self.bill = self.bill, None
        if bill is not None:
            _count(self.meter, bill, self.payer)

    def line(self, raw: bytes, place: int) -> bool:
        """Count one line, unless that was done; False if it cannot be read."""
        line = jobs.line(self.request, self.batch, raw, place)
        if line.bill is not None:
            ours = object()
            if self.seen.setdefault(hash(line.bill.id), ours) is ours:
                _count(self.meter, line.bill, self.payer)
        return line.readable


_held: dict[Key, _Held] = {}
_results: dict[Key, _Results] = {}
"""By the id of the batch, or of its file."""
_payers: dict[Key, Context] = {}
"""Who has made a batch or a session here."""
_models: dict[Key, str] = {}
"""Which model works in a session."""
_counted: dict[Key, object] = {}

_now = object()
"""Another one after everything was ended: what was being read until then tells nothing any more."""


# what the seams ask for


def goes_on(request: Request) -> bool:
    """Whether the answer to this request may be that the work has only begun."""
    return request.endpoint in _GO_ON or request.hints.get("background") is True


_GO_ON = frozenset({"threads.runs", "interactions"})


def hold(call: Call, work: str | None, so_far: Outcome) -> bool:
    """Keep a call open until an answer tells the end of its work; False if nobody could tell.

    `work`: the provider's id of it. `so_far`: what to settle if that never comes.
    """
    if work is None:
        return False
    held = _Held(call, so_far, time.monotonic())
    if _held.setdefault((call.request.provider, work), held) is not held:
        return False
    _make_room(_held, MOST)
    return True


def follow(
    meter: Meter,
    sdk: str,
    method: str,
    url: str,
    *,
    base_url: str,
    client: str = "",
    hosts: Mapping[str, str] | None = None,
) -> "Following | None":
    """What is to be fed with the answer to a request, if that may tell the end of earlier work.

    For every seam: where a request is no call of its own, ask here; the arguments are those of
    `providers.describe`. Feed the result with `content(raw)`, or with `event(data, name)` for each
    event of a stream, and end with `finish("eof")` (another word if the answer was not read to its
    end). Nothing raises, and an answer that tells nothing leaves nothing behind.

    A call whose own answer says that its work goes on is held by its observation: no seam need do
    anything for that.
    """
    job = jobs.follow(sdk, method, url, base_url=base_url, client=client, hosts=hosts)
    if job is None:
        return None
    provider = job.request.provider
    key = provider, job.id
    if job.kind == "held":
        held = _held.get(key)
        return None if held is None else _End(held.call, key)
    if job.kind == "output":
        results = _results.get(key)
        return None if results is None else _Lines(results, key)
    if job.kind == "lines":
        if _all_lines(key) in _counted:
            return None
        payer = _payers.get(key) or _payer()
        made = _Results(meter, job.id, job.request, payer, None)
        results = _results.setdefault(key, made)
        if _all_lines(key) in _counted:  # meanwhile, by another thread
            _results.pop(key, None)
            return None
        _make_room(_results, MOST)
        _forget_lines()
        return _Lines(results, key)
    return None if job.id and key in _counted else _Whole(meter, job, _payer())


_Data = Callable[[bytes], tuple[bytes | None, str | None]]


def _as_it_is(line: bytes) -> tuple[bytes | None, str | None]:
    return line, None


class Following:
    """Reads along with an answer that may tell the end of earlier work."""

    __slots__ = ("_begun", "_done", "_since", "whole")

    lines = False
    """Whether the body is lines of JSON, that are read one by one as `event`s."""
    needs_body = True
    wants_draining = False
    text_mark: bytes | None = None

    def __init__(self) -> None:
        self._begun = False
        self._done = False
        self._since = _now
        self.whole = True
        """False for a part of a file."""

    @property
    def open(self) -> bool:
        return not self._done and self._since is _now

    def begin(self, *, whole: bool) -> bool:
        """The answer is there; False if that was said before."""
        begun, self._begun, self.whole = self._begun, True, whole
        return not begun

    def headers(self, headers: Mapping[str, str]) -> None:
        """What they say is known of the call."""

    def delivered(self, text: bytes) -> None:
        """Nobody estimates these."""

    def cut(self, *, stream: bool) -> tuple[wire.Splitter | None, _Data]:
        """How its body is cut into what `event` takes; `None`: it is not."""
        if self.lines:
            return jobs.LineSplitter(), _as_it_is
        return (wire.SseSplitter() if stream else None), wire.sse_data

    def event(self, data: bytes | str, name: str | None = None) -> bool:
        """The data of one event of a stream, or a line."""
        if self.open:
            guard.call("jobs", self._event, data, name)
        return False

    def body(self, raw: bytes | str) -> None:
        """A whole body, or the last line."""
        self.content(raw)

    def content(self, raw: bytes | str) -> None:
        """All of the answer: a body, or a stream of events where none was asked for."""
        if not self.open:
            return
        if isinstance(raw, bytes) and wire.is_events(raw):
            for data, name in wire.events_of(raw):
                self.event(data, name)
        else:
            guard.call("jobs", self._content, raw)

    def finish(self, how: str, error: BaseException | None = None) -> None:
        """The answer ended this way. Only the first word counts."""
        if self.open:
            self._done = True
            guard.call("jobs", self._end, how)

    def disown(self) -> None:
        """Settle nothing."""
        self._done = True

    def _event(self, data: bytes | str, name: str | None) -> None:
        raise NotImplementedError

    def _content(self, raw: bytes | str) -> None:
        raise NotImplementedError

    def _end(self, how: str) -> None:
        """By default the end tells nothing."""


class _End(Following):
    """Of a call that is held: its own reader reads on."""

    __slots__ = ("_call", "_key", "_reader", "_whole")

    def __init__(self, call: Call, key: Key) -> None:
        super().__init__()
        self._call = call
        self._key = key
        self._reader = providers.reader(call.request)
        self._reader.pending, self._reader.billed = True, False  # until it says otherwise
        self._whole = False

    def _event(self, data: bytes | str, name: str | None) -> None:
        self._reader.event(data, name)

    def _content(self, raw: bytes | str) -> None:
        self._reader.body(raw)
        self._whole = True

    def _end(self, how: str) -> None:
        reader = self._reader
        if reader.pending or not (reader.complete or self._whole):
            return
        if _held.pop(self._key, None) is not None:  # of several that see the end, the first
            self._call.settle(_outcome(reader.readings(), reader.billed, reader.failed, "no_usage"))


class _Lines(Following):
    """Of a batch that has ended: a line for each of its answers."""

    __slots__ = ("_bad", "_key", "_place", "_results", "_taken")

    lines = True

    def __init__(self, results: _Results, key: Key) -> None:
        super().__init__()
        self._results = results
        self._key = key
        self._place = 0
        self._bad = 0
        self._taken = False

    def _event(self, data: bytes | str, name: str | None) -> None:
        raw = data if isinstance(data, bytes) else data.encode("utf-8", "surrogatepass")
        self._results.bill = None
        readable = self._results.line(raw, self._place)
        self._place += 1
        if not readable:
            self._bad += 1

    def body(self, raw: bytes | str) -> None:
        """The last line, without an end."""
        self.event(raw)

    def _content(self, raw: bytes | str) -> None:
        self._results.bill = None
        self._taken = True
        data = raw if isinstance(raw, bytes) else raw.encode("utf-8", "surrogatepass")
        backlog.counting.later(self._some, io.BytesIO(data))

    def _some(self, held: io.BytesIO) -> None:
        """Some lines of a body that is there as a whole: others' calls wait behind them."""
        for _ in range(_AT_ONCE):
            raw = held.readline()
            if not raw:
                self._complete()
                return
            guard.call("jobs", self._event, raw, None)
        backlog.counting.later(self._some, held)

    def _end(self, how: str) -> None:
        if how == "eof" and not self._taken:
            self._complete()

    def _complete(self) -> None:
        """All of it was read: one key remembers it instead of those of the lines."""
        if not self.whole:  # a part, that may begin and end in the middle of a line
            return
        results = self._results
        first = _first(_all_lines((self._key[0], results.batch)))
        _results.pop(self._key, None)  # after that, so that nobody begins anew in between
        if first and self._bad:
            _count(
                results.meter,
                jobs.unreadable(results.request, results.batch, self._bad),
                results.payer,
            )


_AT_ONCE = 200


class _Whole(Following):
    """Of a batch, a session or its events: what its answer tells."""

    __slots__ = ("_job", "_meter", "_payer")

    def __init__(self, meter: Meter, job: jobs.Job, payer: Context) -> None:
        super().__init__()
        self._meter = meter
        self._job = job
        self._payer = payer

    def _event(self, data: bytes | str, name: str | None) -> None:
        self._content(data)

    def _content(self, raw: bytes | str) -> None:
        mark = jobs.EVENTS.get(self._job.kind)
        if mark is not None:
            raw = raw if isinstance(raw, bytes) else raw.encode("utf-8", "surrogatepass")
            if mark.search(raw) is None:
                return
        if len(raw) > _LARGE and self._job.kind == "gemini_batch":
            backlog.counting.later(self._read, raw)  # its answers are in it
        else:
            self._read(raw)

    def _read(self, raw: bytes | str) -> None:
        provider, known = self._job.request.provider, _models.get(_key(self._job))
        job = self._job
        if known is not None:
            job = job._replace(request=job.request._replace(model=known))
        for told in jobs.read(job, raw):
            self._take(provider, told)

    def _take(self, provider: str, told: jobs.Told) -> None:
        if told.id is None:
            return
        key = provider, told.id
        if told.model is not None:
            _models[key] = told.model
            _make_room(_models, MOST)
        if self._job.makes:
            _payers[key] = self._payer
            _make_room(_payers, MOST)
            self._job = self._job._replace(id=told.id)
        payer = _payers.get(key) or self._payer
        if not told.ended:
            for bill in told.bills:
                if _first((provider, bill.id)):
                    _count(self._meter, bill, payer)
        elif _first(key):
            if told.output is None:
                for bill in told.bills:
                    _count(self._meter, bill, payer)
            elif told.request is not None:
                unread = told.bills[0] if told.bills else None
                results = _Results(self._meter, told.id, told.request, payer, unread)
                # the lines may have been looked at before the batch itself
                if _all_lines(key) not in _counted:
                    _results.setdefault((provider, told.output), results)
                    _make_room(_results, MOST)


_LARGE = 64 * 1024


def _key(job: jobs.Job) -> Key:
    return job.request.provider, job.id


def _all_lines(key: Key) -> Key:
    return key[0], key[1] + "/"


def _first(key: Key) -> bool:
    """Whether this is counted for the first time."""
    ours = object()
    if _counted.setdefault(key, ours) is not ours:
        return False
    _make_room(_counted, MOST_COUNTED)
    return True


# what comes of it


def _payer() -> Context:
    """Who pays for what is asked for now, and in which trace: without all else that a context holds."""
    place = scope.caller()
    kept = {name: value for name, value in place.items() if name in scope.PAYER}
    kept[_SUPPRESS_INSTRUMENTATION_KEY] = True  # a span for each line of a batch helps nobody
    return trace.set_span_in_context(
        NonRecordingSpan(trace.get_current_span(place).get_span_context()), Context(kept)
    )


def _count(meter: Meter, bill: jobs.Bill, payer: Context) -> None:
    """One record, at the expense of `payer`."""
    model = next((reading.model for reading in bill.readings if reading.model), bill.request.model)
    token = context.attach(payer)
    try:
        # it shows the zero of the model that answered: nobody told which one was asked for
        call = meter.begin(bill.request._replace(model=model))
    finally:
        context.detach(token)
    call.request = bill.request
    call.id = jobs.digest(bill.request.provider, bill.id)
    if bill.created is not None and bill.created < call.time:
        call.time = bill.created
    # it is not settled, so it has no duration: nobody waited for it
    outcome = _outcome(bill.readings, bill.billed, bill.failed, bill.reason)
    backlog.counting.later(meter.emit, call, outcome)


def _outcome(
    readings: tuple[Reading, ...], billed: bool, failed: str | None, reason: str | None
) -> Outcome:
    """What a finished piece of work came to."""
    status: Literal["ok", "error"] = "ok" if failed is None else "error"
    if not billed:
        return Outcome(status, readings, billed=False, error_type=failed)
    if any(reading.bad for reading in readings):
        return Outcome(status, readings, "bad", error_type=failed, reason="bad_usage")
    if any(reading.usage is not None or reading.units for reading in readings):
        return Outcome(status, readings, "reported", error_type=failed)
    return Outcome(status, readings, "missing", error_type=failed, reason=reason)


def _make_room(kept: "dict[Key, Any]", most: int) -> None:
    """Forget the oldest of too many, and of what can be given up the too old."""
    while True:
        try:
            key, oldest = next(iter(kept.items()))
        except (StopIteration, RuntimeError):  # others are at it, too
            return
        since = getattr(oldest, "since", None)
        if len(kept) <= most and (since is None or time.monotonic() - since < FOR):
            return
        gone = kept.pop(key, None)
        if since is not None and gone is not None:
            gone.give_up()


def _forget_lines() -> None:
    """Forget the oldest of the batches that were read in part, if they had too many lines."""
    while len(_results) > 1 and sum(len(one.seen) for one in tuple(_results.values())) > MOST_LINES:
        try:
            gone = _results.pop(next(iter(_results)), None)
        except (StopIteration, RuntimeError):
            return
        if gone is not None:
            gone.give_up()


def end() -> None:
    """Everything ends: what is held is settled with what is known, and all is forgotten."""
    global _now
    backlog.counting.drain()  # among it may be the ends of some
    _now = object()
    for kept in (_held, _results):
        while kept:
            try:
                _, one = kept.popitem()
            except KeyError:
                break
            one.give_up()
    for known in (_payers, _models, _counted):
        known.clear()


@forks.in_child
def _forget_inherited() -> None:
    """A forked child: what its parent is waiting for, its parent will count."""
    _held.clear()
    for results in _results.values():
        results.bill = None
