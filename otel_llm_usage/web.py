"""What each request of a web application used and cost, as ASGI and WSGI middleware."""

import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from functools import partial
from inspect import iscoroutinefunction
from typing import Any, NamedTuple

from opentelemetry.context import Context

from . import around, baggage, guard
from .scope import texts
from .streaming import AsyncOnEnd, OnEnd, ended, ended_async, sse
from .tracking import UsageScope

KEY = "otel_llm_usage"
"""Under this name the scope of a request is in the ASGI scope, or in the WSGI environment."""

LONGEST = 256
"""Characters of a header's value that are taken."""

Place = Mapping[str, Any]
"""An ASGI scope, or a WSGI environment."""

Who = str | Callable[[Any], object] | None
"""The name of a header, or a function of the place giving text or `None`."""

Labels = Callable[[Any], Mapping[str, object] | None]

Message = Mapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
Application = Callable[[Any, Any, Any], Awaitable[None]]
Headers = list[tuple[str, str]]

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

_BODILESS = ("204", "304")
"""Kinds of answers that have no body."""


class UsageMiddleware:
    """Gathers the calls of each request of an ASGI application in a scope of its own.

    `app.add_middleware(UsageMiddleware, user="x-user-id")` in FastAPI and Starlette, or around any
    application: `UsageMiddleware(app)`.
    """

    def __init__(
        self,
        app: Application,
        *,
        user: Who = None,
        session: Who = None,
        labels: Labels | None = None,
        id: Who = None,
        headers: bool = True,
        final_event: bool = False,
        on_end: AsyncOnEnd | None = None,
    ) -> None:
        """`user`, `session`, `id`: the name of a header, or a function of the ASGI scope that gives
        text or `None`. A header is whatever the client says.

        `labels`: a function of the ASGI scope that gives more labels.
        `headers`: tell tokens and dollars in headers of answers that are complete when they begin.
        `final_event`: end streams of server-sent events with a `token_summary`.
        `on_end`: is called, and awaited, once with the scope when a request or websocket is over.
        """
        self._app = app
        self._scopes = _Scopes(_header, user=user, session=session, labels=labels, id=id)
        self._headers = headers
        self._final_event = final_event
        self._on_end = on_end

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        # not a copy of the ASGI scope: middleware outside may read what a router leaves there
        usage = scope[KEY] = self._scopes.of(scope)
        try:
            if scope["type"] == "http" and (self._headers or self._final_event):
                await self._answer(usage, scope, receive, send)
            else:
                with usage:
                    await self._app(scope, receive, send)
        finally:
            await ended_async(self._on_end, usage)

    async def _answer(self, usage: UsageScope, scope: Any, receive: Receive, send: Send) -> None:
        final_event = self._final_event and scope["method"] != "HEAD"
        answer = _Answer(usage, send, self._headers, final_event)
        try:
            with usage:
                await self._app(scope, receive, answer)
        except Exception:
            # the server is to know how far the application came
            await guard.theirs_async(answer.begin())
            raise
        await answer.begin()


class _Answer:
    """What an ASGI application sends, and what we add to it."""

    def __init__(self, usage: UsageScope, send: Send, headers: bool, final_event: bool) -> None:
        self._usage = usage
        self._send = send
        self._headers = headers
        self._final_event = final_event
        self._held: Message | None = None
        """The beginning: only with the body it is known whether that is all."""
        self._has_length = False
        self._events: _Events | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            await self._start(message)
            return
        last = message["type"] in _BODIES and not message.get("more_body", False)
        await self.begin(complete=last)
        if self._events is not None and message["type"] == "http.response.body":
            message = await self._with_event(message, self._events, last)
        await self._send(message)

    async def _start(self, message: Message) -> None:
        await self.begin()  # a second one is for the server to refuse
        # they may be something that can be read only once
        message = {**message, "headers": [*message.get("headers", ())]}
        kind = _kind(message["status"], _texts(message))
        if kind.streams_events:
            self._events = _Events(self._usage) if self._final_event else None
        elif self._headers:
            self._held, self._has_length = message, kind.has_length
            return
        # the reader of a stream wants to know at once that it begins
        await self._send(message)

    async def begin(self, complete: bool = False) -> None:
        """Send what is held back. `complete`: the body is at hand."""
        message, self._held = self._held, None
        if message is None:
            return
        if complete or self._has_length:
            more = [
                (name.lower().encode(), value.encode())
                for name, value in _figures(self._usage, _texts(message))
            ]
            message = {**message, "headers": [*message["headers"], *more]}
        await self._send(message)

    async def _with_event(self, message: Message, events: "_Events", last: bool) -> Message:
        """Before the last message, which is empty then, the event."""
        body = message.get("body", b"")
        events.saw(body)
        if not last:
            return message
        for part in (body, events.last()):
            if part:
                await self._send({"type": "http.response.body", "body": part, "more_body": True})
        return {**message, "body": b""}


_BODIES = ("http.response.body", "http.response.pathsend", "http.response.zerocopysend")


def _texts(message: Message) -> Headers:
    return guard.call("web.headers", _decoded, message) or []


def _decoded(message: Message) -> Headers:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in message["headers"]]


def _header(name: str) -> Callable[[Place], str | None]:
    wanted = name.lower().encode("latin-1")

    def read(scope: Place) -> str | None:
        found = (value for key, value in scope["headers"] if key.lower() == wanted)
        value = next(found, None)
        return None if value is None else value.decode("latin-1")

    return read


class UsageWSGIMiddleware:
    """Gathers the calls of each request of a WSGI application in a scope of its own.

    `app.wsgi_app = UsageWSGIMiddleware(app.wsgi_app, user="X-User-Id")` in Flask, or around any
    application: `UsageWSGIMiddleware(app)`.
    """

    def __init__(
        self,
        app: Callable[[Any, Any], Iterable[bytes]],
        *,
        user: Who = None,
        session: Who = None,
        labels: Labels | None = None,
        id: Who = None,
        headers: bool = True,
        final_event: bool = False,
        on_end: OnEnd | None = None,
    ) -> None:
        """As with `UsageMiddleware`; functions get the WSGI environment."""
        if iscoroutinefunction(on_end):
            raise TypeError("UsageWSGIMiddleware(on_end=...): a WSGI application awaits nothing")
        self._app = app
        self._scopes = _Scopes(_variable, user=user, session=session, labels=labels, id=id)
        self._headers = headers
        self._final_event = final_event
        self._on_end = on_end

    def __call__(self, environ: Any, start_response: Callable[..., Any]) -> Iterable[bytes]:
        usage = environ[KEY] = self._scopes.of(environ)
        final_event = self._final_event and environ["REQUEST_METHOD"] != "HEAD"
        start = _Start(usage, start_response, self._headers, final_event)
        over = partial(ended, self._on_end, usage)
        try:
            with usage:
                chunks = self._app(environ, start)
        except BaseException:
            over()
            raise
        if _is_file(chunks, environ) or (type(chunks) in (list, tuple) and start.events is None):
            # the application has done its part, and servers send these in ways of their own
            over()
            return chunks
        return _Chunks(chunks, usage, start, over)


class _Start:
    """`start_response`, and what we add to it."""

    def __init__(
        self,
        usage: UsageScope,
        start_response: Callable[..., Any],
        headers: bool,
        final_event: bool,
    ) -> None:
        self._usage = usage
        self._start_response = start_response
        self._headers = headers
        self._final_event = final_event
        self.events: _Events | None = None
        """There if the answer is a stream that an event of ours is to end."""

    def __call__(
        self, status: str, headers: Headers, exc_info: Any = None
    ) -> Callable[[bytes], object]:
        kind = _kind(status, headers)
        if self._headers and kind.has_length:
            headers = [*headers, *_figures(self._usage, headers)]
        error = () if exc_info is None else (exc_info,)
        write: Callable[[bytes], object] = self._start_response(status, headers, *error)
        events = _Events(self._usage) if self._final_event and kind.streams_events else None
        self.events = events
        if events is None:
            return write

        def writing(data: bytes) -> object:
            events.saw(data)
            return write(data)

        return writing


class _Chunks:
    """What a WSGI application answers, each step of it inside the scope."""

    def __init__(
        self,
        chunks: Iterable[bytes],
        usage: UsageScope,
        start: _Start,
        over: Callable[[], None],
    ) -> None:
        self._steps = around.Steps(usage, chunks)
        self._start = start
        self._over: Callable[[], None] | None = over

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            chunk: bytes = next(self._steps)
        except StopIteration:
            events, self._start.events = self._start.events, None
            event = b"" if events is None else events.last()
            if not event:
                raise
            return event
        if self._start.events is not None:
            self._start.events.saw(chunk)
        return chunk

    def close(self) -> None:
        """What the server calls when it needs no more."""
        over, self._over = self._over, None
        try:
            self._steps.close()
        finally:
            if over is not None:
                over()


def _is_file(chunks: object, environ: Place) -> bool:
    """Whether the server may send a file of the operating system instead."""
    wrapper = environ.get("wsgi.file_wrapper")
    return isinstance(wrapper, type) and isinstance(chunks, wrapper)


def _variable(name: str) -> Callable[[Place], str | None]:
    key = "HTTP_" + name.upper().replace("-", "_")
    return lambda environ: environ.get(key)


# what both do


class _RequestScope(UsageScope):
    """The scope of a request, with which another service may have said who pays."""

    __slots__ = ("heard",)

    def __init__(self, id: str | None, labels: Mapping[str, object]) -> None:
        super().__init__(id, labels)
        self.heard: str | None = None

    def _inside(self, before: Context) -> Context:
        if self.heard:
            before = guard.call("web.baggage", baggage.received, self.heard, before) or before
        return super()._inside(before)


class _Scopes:
    """Makes the scope of a request: whose it is."""

    def __init__(
        self,
        header: Callable[[str], Callable[[Place], str | None]],
        *,
        labels: Labels | None,
        **who: Who,
    ) -> None:
        """`header`: makes what reads a header by its name."""
        self._labels = labels
        self._baggage = header("baggage")
        self._who: dict[str, Callable[[Place], object]] = {}
        for name, said in who.items():
            if isinstance(said, str):
                self._who[name] = partial(_told, header(said))
            elif said is not None:
                self._who[name] = _function(name, said, "the name of a header or a function")
        if labels is not None:
            _function("labels", labels, "a function")

    def of(self, place: Place) -> UsageScope:
        said = {
            name: guard.call(f"web.{name}", _text, read, place) for name, read in self._who.items()
        }
        more = guard.call("web.labels", self._more, place) or {}
        usage = _RequestScope(said.pop("id", None), {**more, **texts(said)})
        if baggage.shared():
            usage.heard = guard.call("web.baggage", self._baggage, place)
        return usage

    def _more(self, place: Place) -> dict[str, str]:
        given = None if self._labels is None else self._labels(place)
        return texts(dict(**(given or {})))


def _function(name: str, function: Any, wanted: str) -> Callable[[Place], object]:
    if not callable(function) or iscoroutinefunction(function):
        raise TypeError(f"{name}=... takes {wanted} that is not async: got {function!r}")
    made: Callable[[Place], object] = function
    return made


def _text(read: Callable[[Place], object], place: Place) -> str | None:
    value = read(place)
    return None if value is None else str(value) or None


def _told(header: Callable[[Place], str | None], place: Place) -> str | None:
    """What the client says: bounded, and text."""
    value = (header(place) or "").strip()
    return None if _CONTROL.search(value) else value[:LONGEST]


class _Kind(NamedTuple):
    """What the headers of an answer say about its body."""

    has_length: bool
    streams_events: bool
    """Server-sent events, to which one more can be added."""


def _kind(status: object, headers: Headers) -> _Kind:
    return guard.call("web.headers", _read, str(status), headers) or _Kind(False, False)


def _read(status: str, headers: Headers) -> _Kind:
    known = {name.lower(): value for name, value in headers}
    media = known.get("content-type", "").partition(";")[0].strip().lower()
    has_length = "content-length" in known
    plain = not has_length and "content-encoding" not in known
    return _Kind(
        has_length, media == "text/event-stream" and plain and not status.startswith(_BODILESS)
    )


def _figures(usage: UsageScope, said: Headers) -> Headers:
    """The headers that tell what is known, but those that the application said itself."""
    figures = guard.call("web.headers", _known, usage) or {}
    there = {name.lower() for name, _ in said}
    return [(name, value) for name, value in figures.items() if name.lower() not in there]


def _known(usage: UsageScope) -> dict[str, str]:
    total = usage.total
    cost = total.cost_usd
    return {
        **({} if total.missing else {"X-LLM-Tokens": str(total.total_tokens)}),
        **({} if cost is None else {"X-LLM-Cost-USD": f"{cost:f}"}),
    }


class _Events:
    """The server-sent events of an answer, and the one that ends them."""

    _BLANK = (b"\n\n", b"\r\r", b"\n\r", b"\n\r\n", b"\r\r\n")
    """How what ends with an empty line ends."""

    def __init__(self, usage: UsageScope) -> None:
        self._usage = usage
        self._end = b"\n\n"

    def saw(self, chunk: bytes) -> None:
        """The answer goes on with this."""
        self._end = (self._end + chunk[-3:])[-3:]

    def last(self) -> bytes:
        """The event that ends the answer; nothing if it can't be made."""
        event = guard.call("web.event", lambda: sse(self._usage.token_summary()).encode()) or b""
        # whoever reads ends an event at an empty line
        return event if not event or self._end.endswith(self._BLANK) else b"\n\n" + event
