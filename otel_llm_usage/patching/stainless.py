"""The seams of the openai and anthropic SDKs: one generated base client serves both.

`_build_request` runs once for each HTTP attempt: there a call begins, and the usage of a stream is
asked for. `_process_response` is given each successful physical response before the SDK parses it.
`request` is around all attempts: there a failure ends the call.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar, Token
from functools import partial
from typing import Any

from .. import guard, providers
from ..meter import Call, Outcome
from . import wire
from .engine import Seam
from .observation import (
    How,
    Meters,
    Observation,
    OnAbort,
    begin,
    observe,
    settle_failed,
    waiting,
)
from .tee import Filter, Tap, tee

KEY = "otel_llm_usage"
"""Our one private key in a request's `extensions`: transports ignore it, pickling drops it."""

MODULES = {"openai": "openai._base_client", "anthropic": "anthropic._base_client"}


class _Frame:
    """One passage through `request()`: it may make several attempts and, with fallbacks, hops."""

    __slots__ = ("_on_abort", "asked", "marked")

    def __init__(self, on_abort: OnAbort) -> None:
        self._on_abort: OnAbort = on_abort
        self.marked: _Marked | None = None
        """The latest attempt; one that failed hands its call to the next one."""
        self.asked: str | None = None
        """The host that was asked for usage which the caller had not asked for."""

    @property
    def call(self) -> Call | None:
        return None if self.marked is None else self.marked.call

    def enter(self) -> Token["_Frame | None"]:
        """A passage begins."""
        waiting.add(self)
        return _frame.set(self)

    def leave(self, token: Token["_Frame | None"]) -> None:
        """The passage is over, well or not."""
        waiting.discard(self)
        # a coroutine may be closed in another context than the one that it ran in
        with suppress(ValueError):
            _frame.reset(token)
        if self.marked is not None:
            self.marked.call.deactivate()

    def finish(self, how: How) -> None:
        """We go, and the answer has not come: the provider may bill what was sent."""
        marked = self.marked
        if marked is not None and not marked.call.seen:
            marked.call.seen = True
            observation = marked.observe(self._on_abort)
            if observation is not None:
                observation.finish(how)

    def disown(self) -> None:
        """Settle nothing: the call is another process's."""
        self.marked = None


_frame: ContextVar[_Frame | None] = ContextVar("otel_llm_usage_frame", default=None)


class _Marked:
    """What travels with a request to its response."""

    __slots__ = ("call", "filter", "request_body")

    def __init__(self, call: Call, filter_: Filter | None) -> None:
        self.call = call
        self.filter = filter_
        self.request_body: bytes | None = None

    def observe(self, on_abort: OnAbort) -> Observation | None:
        """See `observation.observe`."""
        return observe(self.call, on_abort, partial(_itself, self.request_body))


class Stainless:
    """The wrappers for one of the two SDKs."""

    def __init__(self, sdk: str, meters: Meters) -> None:
        self._sdk = sdk
        self._meters = meters
        self._refusing: set[str] = set()

    def seams(self) -> list[Seam]:
        """Where the wrappers go."""
        module = MODULES[self._sdk]
        return [
            Seam(self._sdk, module, path, wrapper)
            for path, wrapper in (
                ("SyncAPIClient.request", self.request),
                ("AsyncAPIClient.request", self.request_async),
                ("BaseClient._build_request", self.build_request),
                ("SyncAPIClient._process_response", self.process_response),
                ("AsyncAPIClient._process_response", self.process_response),
            )
        ]

    def request(
        self, wrapped: Callable[..., Any], client: Any, args: Any, kwargs: dict[str, Any]
    ) -> Any:
        """All attempts of one call, sync."""
        frame = _Frame(self._meters.on_abort)
        while True:
            token = frame.enter()
            try:
                answer = wrapped(*args, **kwargs)
            except BaseException as error:
                if self._refused_our_question(frame, error):
                    continue
                self._failed(frame, error)
                raise
            finally:
                frame.leave(token)
            self._unobserved(frame)
            return answer

    async def request_async(
        self, wrapped: Callable[..., Any], client: Any, args: Any, kwargs: dict[str, Any]
    ) -> Any:
        """All attempts of one call, async."""
        frame = _Frame(self._meters.on_abort)
        while True:
            token = frame.enter()
            try:
                answer = await wrapped(*args, **kwargs)
            except BaseException as error:
                if self._refused_our_question(frame, error):
                    continue
                self._failed(frame, error)
                raise
            finally:
                frame.leave(token)
            self._unobserved(frame)
            return answer

    def _unobserved(self, frame: _Frame) -> None:
        """An answer came that did not pass the seam: it is counted as one without usage."""
        call = frame.call
        if call is not None and not call.seen:
            call.settle(Outcome("ok", reason="not_observed"))

    def _failed(self, frame: _Frame, error: BaseException) -> None:
        call = frame.call
        if call is not None and not call.seen:
            guard.call("settle", settle_failed, call, error)

    def _refused_our_question(self, frame: _Frame, error: BaseException) -> bool:
        """Whether the server refused only what we had added: then the call is made once more."""
        if frame.asked is None or getattr(error, "status_code", None) not in (400, 422):
            return False
        if not _names_our_option(error):
            return False
        self._refusing.add(frame.asked)  # never asked again, so this cannot go on for ever
        return True

    def build_request(
        self, wrapped: Callable[..., Any], client: Any, args: Any, kwargs: dict[str, Any]
    ) -> Any:
        """One HTTP attempt."""
        options = args[0] if args else kwargs.get("options")
        marked = guard.call("describe", self._mark, client, options)
        if marked is None:
            return wrapped(*args, **kwargs)
        if marked.filter is None:
            request = wrapped(*args, **kwargs)
        else:
            with _asking_for_usage(options):
                request = wrapped(*args, **kwargs)
        guard.call("describe", _attach, request, marked)
        return request

    def _mark(self, client: Any, options: Any) -> _Marked | None:
        body = _effective_body(options)
        base_url = str(client.base_url)
        stream = isinstance(body, Mapping) and body.get("stream") is True
        described = providers.describe(
            self._sdk,
            options.method,
            options.url,
            body,
            base_url=base_url,
            client=_client_name(type(client)),
            headers=options.headers if isinstance(options.headers, Mapping) else None,
            stream=stream,
            hosts=self._meters.hosts,
        )
        if described is None:
            return None
        frame = _frame.get()
        call = frame.call if frame is not None else None
        if call is None or call.seen or call.settled:
            call = begin(self._meters.meter, described)
        if call is None:
            return None
        filter_ = None
        if stream and self._sdk == "openai" and isinstance(body, Mapping):
            filter_ = self._filter(client, options, base_url, body)
        marked = _Marked(call, filter_)
        if frame is not None:
            frame.marked = marked
            call.activate()
            frame.asked = base_url if filter_ is not None else None
        return marked

    def _filter(
        self, client: Any, options: Any, base_url: str, body: Mapping[str, Any]
    ) -> Filter | None:
        """How to hide the usage that we ask for, or `None` where we don't ask."""
        if base_url in self._refusing:
            return None
        return providers.usage_filter(
            base_url,
            _with_version(client, options),
            body,
            client=_client_name(type(client)),
            override=self._meters.stream_usage,
        )

    def process_response(
        self, wrapped: Callable[..., Any], client: Any, args: Any, kwargs: dict[str, Any]
    ) -> Any:
        """One physical response, not parsed yet."""
        guard.call("observe", self._observe, kwargs.get("response"), kwargs.get("stream"))
        return wrapped(*args, **kwargs)

    def _observe(self, response: Any, stream: Any) -> None:
        request = getattr(response, "_request", None)  # `.request` raises where there is none
        marked = request.extensions.get(KEY) if request is not None else None
        if not isinstance(marked, _Marked) or marked.call.seen or not response.is_success:
            return
        marked.call.deactivate()
        marked.call.seen = True
        observation = marked.observe(self._meters.on_abort)
        if observation is None:
            return
        observation.headers(response.headers)
        if hasattr(response, "_content"):
            if stream or marked.call.request.stream:
                response._content = _read_already(observation, marked.filter, response)
            else:
                observation.body(response.content)
            return
        tap = _tap(observation, marked.filter, response, bool(stream))
        observed = tee(response.stream, tap)
        if observed is not None:
            response.stream = observed


def _tap(observation: Observation, filter_: Filter | None, response: Any, stream: bool) -> Tap:
    kind = type(response)
    encoding = {"content-encoding": response.headers.get("content-encoding", "")}

    def decode(raw: bytes) -> bytes:
        decoded: list[bytes] = []
        # a stream may be closed before its last bytes came: what they would end is there
        with suppress(_decoding_error(kind)):
            decoded.extend(kind(200, headers=encoding, content=iter([raw])).iter_bytes())
        return b"".join(decoded)

    decoder = wire.decoder(response.headers, decode)
    if "vnd.amazon.eventstream" in response.headers.get("content-type", ""):
        return Tap(observation, decoder, splitter=wire.FrameSplitter(), data=wire.frame_data)
    # real servers leave out or misspell the content type: the caller's `stream=True` decides
    if stream or observation.call.request.stream:
        plain = isinstance(decoder, wire.Plain)
        keep = filter_ if plain else None
        return Tap(observation, decoder, splitter=wire.SseSplitter(), keep=keep)
    return Tap(observation, decoder, splitter=None, blind=not observation.needs_body)


def _read_already(observation: Observation, filter_: Filter | None, response: Any) -> bytes:
    """A stream whose body somebody (a logging hook) has read: what the caller is to see of it."""
    framed = "vnd.amazon.eventstream" in response.headers.get("content-type", "")
    splitter, data = (
        (wire.FrameSplitter(), wire.frame_data) if framed else (wire.SseSplitter(), wire.sse_data)
    )
    tap = Tap(observation, wire.Plain(), splitter=splitter, data=data, keep=filter_)
    return tap.feed(response.content) + tap.end()


def _decoding_error(response: type) -> type[Exception]:
    """What the HTTP library that made the response raises if it cannot decode it."""
    library = next(base for base in response.__mro__ if base.__name__ == "Response")
    error = getattr(sys.modules[library.__module__.partition(".")[0]], "DecodingError", None)
    return error if isinstance(error, type) else ValueError


def _with_version(client: Any, options: Any) -> str:
    """The URL with Azure's version, which the client adds only when it makes the request."""
    for query in (options.params, getattr(client, "default_query", None)):
        version = query.get("api-version") if isinstance(query, Mapping) else None
        if isinstance(version, str):
            return f"{options.url}?api-version={version}"
    return str(options.url)


def _itself(body: bytes | None) -> bytes | None:
    return body


def _attach(request: Any, marked: _Marked) -> None:
    marked.request_body = getattr(request, "_content", None)
    if marked.filter is not None:
        request.headers["accept-encoding"] = "identity"
    request.extensions = {**request.extensions, KEY: marked}


def _effective_body(options: Any) -> Any:
    body, extra = options.json_data, options.extra_json
    if extra is None:
        return body
    return {**body, **extra} if isinstance(body, Mapping) else extra


@contextmanager
def _asking_for_usage(options: Any) -> Iterator[None]:
    """Ask for usage on a copy, in the place where the caller's own options stand."""
    place = "json_data"
    if isinstance(options.extra_json, Mapping) and "stream_options" in options.extra_json:
        place = "extra_json"
    theirs = getattr(options, place)
    stream_options = theirs.get("stream_options") if isinstance(theirs, Mapping) else None
    ours = {**(theirs or {})}
    ours["stream_options"] = {
        **(stream_options if isinstance(stream_options, Mapping) else {}),
        "include_usage": True,
    }
    setattr(options, place, ours)
    try:
        yield
    finally:
        setattr(options, place, theirs)


def _names_our_option(error: BaseException) -> bool:
    said = f"{getattr(error, 'body', '')} {error}"
    return "stream_options" in said or "include_usage" in said


_names: dict[type, str] = {}


def _client_name(kind: type) -> str:
    """The SDK's own class of a client: users may have derived from it."""
    name = _names.get(kind)
    if name is None:
        own = (
            base.__name__
            for base in kind.__mro__
            if base.__module__.startswith(("openai.", "anthropic."))
        )
        name = _names[kind] = next(own, kind.__name__)
    return name
