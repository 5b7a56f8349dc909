"""The seams of the openai and anthropic SDKs: one generated base client serves both.

`_build_request` runs once for each HTTP attempt: there a call begins, and the usage of a stream is
asked for. `_process_response` is given each successful physical response before the SDK parses it.
`request` is around all attempts: there a failure ends the call.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from weakref import WeakKeyDictionary, ref

from .. import guard, providers
from ..meter import Call, Outcome
from ..records import MAPPING, NOTHING
from . import jobs, wire
from .engine import Seam
from .observation import (
    How,
    Meters,
    Observation,
    OnAbort,
    observe,
    settle_failed,
    take_whole,
    waiting,
)
from .tee import Filter, HidingDecoder, Tap, decoder_of, length_of, read_along

logger = logging.getLogger("otel_llm_usage")

KEY = "otel_llm_usage"
"""Our one private key in a request's `extensions`: transports ignore it, pickling drops it."""

MODULES = {
    "openai": "openai._base_client",
    "anthropic": "anthropic._base_client",
    "google": "google.genai._interactions._base_client",
}
"""The base clients. That of google-genai was for interactions alone, from 1.55 to 2.7."""


class _Frame:
    """One passage through `request()`: it may make several attempts and, with fallbacks, hops."""

    __slots__ = ("_around", "_on_abort", "_outer", "again", "asked", "asks", "attempts", "first")

    def __init__(self, on_abort: OnAbort) -> None:
        self._on_abort: OnAbort = on_abort
        self._around = _frame.get()
        self._outer: tuple[ref[_Attempt] | None] | None = None
        """What was the latest attempt outside, once this passage has changed that."""
        self.first: _Attempt | None = None
        """The attempt that was made first; later ones are found by `_attempt`."""
        waiting.add(self)
        _frame.set(self)
        self.attempts: list[_Attempt] = []
        """All of them, but those whose call went over to a later one."""
        self.asks = True
        """False once a server may have refused what we asked for."""
        self.again: _Attempt | None = None
        """The attempt that was refused so: the next one takes its call over."""
        self.asked: tuple[str, str | None] | None = None
        """The host and the model that were asked for usage which the caller had not asked for."""

    def enter_again(self) -> None:
        """The passage is made once more."""
        waiting.add(self)
        _frame.set(self)

    def leave(self) -> bool:
        """The passage is over; whether it made one attempt, whose answer is being read already."""
        waiting.discard(self)
        # a coroutine may be closed in another context than the one that it ran in
        if _frame.get() is self:
            _frame.set(self._around)
            if self._outer is not None:
                _attempt.set(self._outer[0])
        attempts = self.attempts
        for attempt in attempts:
            if attempt.call.attached is not None:
                attempt.call.deactivate()
        if self.asked is None and len(attempts) == 1 and attempts[0].observed:
            self.attempts, self.first = [], None  # see `forget`
            return True
        return False

    def follow(self, attempt: "_Attempt") -> None:
        """It is the latest of its task."""
        self._outer = self._outer or (_attempt.get(),)
        _attempt.set(ref(attempt))

    def forget(self) -> None:
        """Nobody asks for the attempts any more. They know this: a cycle would keep request bodies."""
        self.attempts.clear()
        self.first = None

    @property
    def unanswered(self) -> "list[_Attempt]":
        """The attempts of which no successful answer was met."""
        return [attempt for attempt in self.attempts if not attempt.call.seen]

    def finish(self, how: How) -> None:
        """We go, and the answer has not come: the provider may bill what was sent."""
        for attempt in self.unanswered:
            attempt.call.seen = True
            observation = attempt.observe(self._on_abort)
            if observation is not None:
                observation.finish(how)

    def disown(self) -> None:
        """Settle nothing: the calls are another process's."""
        self.attempts = []


_frame: ContextVar[_Frame | None] = ContextVar("otel_llm_usage_frame", default=None)


class _Attempt:
    """One HTTP attempt: what travels with a request to its response."""

    __slots__ = (
        "__weakref__",
        "call",
        "filter",
        "frame",
        "handed_on",
        "observed",
        "refused",
        "request_body",
        "sent",
    )

    def __init__(self, call: Call, filter_: Filter | None, frame: _Frame | None) -> None:
        self.call = call
        self.filter = filter_
        self.frame = frame
        self.request_body: bytes | None = None
        self.sent = False
        """Whether there was a request that could be sent."""
        self.refused: int | None = None
        """The status of an answer that is no success."""
        self.observed = False
        self.handed_on = False
        """Whether a later attempt has taken the call over."""

    def observe(self, on_abort: OnAbort) -> Observation | None:
        """See `observation.observe`."""
        return observe(self.call, on_abort, self.request_body)


class _Lone(_Attempt):
    """An attempt without a passage of ours around it: nobody else sees how it ended."""

    __slots__ = ()

    def __del__(self) -> None:
        if not self.call.seen and not self.handed_on:
            self.call.settle(Outcome("error", error_type="_OTHER", reason="no_response"))


_attempt: "ContextVar[ref[_Attempt] | None]" = ContextVar("otel_llm_usage_attempt", default=None)
"""The latest attempt of this task: a retry takes its call over."""

_REFUSED_FOR = 3600.0
"""Seconds for which a refused question is not asked again."""


class Stainless:
    """The wrappers for one of the two SDKs."""

    def __init__(self, sdk: str, meters: Meters) -> None:
        self._sdk = sdk
        self._meters = meters
        self._refusing: dict[tuple[str, str | None], float] = {}
        """Who refused our question, and until when that is believed."""

    def seams(self) -> list[Seam]:
        """Where the wrappers go."""
        module = MODULES[self._sdk]
        return [
            Seam(self._sdk, module, path, wrapper, optional=self._sdk == "google")
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
            try:
                answer = wrapped(*args, **kwargs)
            except BaseException as error:
                frame.leave()
                if guard.call("observe", self._refused_our_question, frame, error):
                    frame.enter_again()
                    continue
                guard.call("observe", self._failed, frame, error)
                raise
            if not frame.leave():
                guard.call("observe", self._answered, frame, answer)
            return answer

    async def request_async(
        self, wrapped: Callable[..., Any], client: Any, args: Any, kwargs: dict[str, Any]
    ) -> Any:
        """All attempts of one call, async."""
        frame = _Frame(self._meters.on_abort)
        while True:
            try:
                answer = await wrapped(*args, **kwargs)
            except BaseException as error:
                frame.leave()
                if guard.call("observe", self._refused_our_question, frame, error):
                    frame.enter_again()
                    continue
                guard.call("observe", self._failed, frame, error)
                raise
            if not frame.leave():
                guard.call("observe", self._answered, frame, answer)
            return answer

    def _answered(self, frame: _Frame, answer: Any) -> None:
        """The passage gave an answer."""
        self._remember_refusal(frame)
        for attempt in frame.attempts:
            if attempt.filter is not None and not attempt.observed:
                # it did not pass where we read: a subclass, or we went while it was waiting
                response = getattr(answer, "response", None) or getattr(
                    answer, "http_response", None
                )
                self._attend(attempt, response, stream=True)
        for attempt in frame.unanswered:
            if attempt.refused is not None or attempt is not frame.attempts[-1]:
                self._end_failed(attempt)
            else:
                attempt.call.settle(Outcome("ok", reason="not_observed"))
        frame.forget()

    def _failed(self, frame: _Frame, error: BaseException) -> None:
        for attempt in frame.unanswered:
            if attempt is not frame.attempts[-1]:
                self._end_failed(attempt)
            elif attempt.sent:
                settle_failed(attempt.call, error)
            else:
                kind = type(error).__name__
                attempt.call.settle(Outcome("error", billed=False, error_type=kind))
        for attempt in frame.attempts:
            attempt.call.deactivate()
        frame.forget()

    def _end_failed(self, attempt: _Attempt) -> None:
        """An attempt that another one followed: refused, or nobody knows."""
        status = attempt.refused
        attempt.call.settle(
            Outcome(
                "error",
                billed=status is None,
                error_type=str(status or "_OTHER"),
                http_status=status,
                reason="no_response",
            )
        )

    def _refused_our_question(self, frame: _Frame, error: BaseException) -> bool:
        """Whether the server may have refused what we had added: then the call is made once more."""
        if not frame.asks or frame.asked is None:
            return False
        if getattr(error, "status_code", None) not in (400, 422) or not _names_our_option(error):
            return False
        frame.asks = False
        frame.again = frame.attempts[-1]
        return True

    def _remember_refusal(self, frame: _Frame) -> None:
        """Without our question it went well: this host is not asked about this model for a while."""
        if frame.asks or frame.asked is None:
            return
        host, model = frame.asked
        if frame.asked not in self._refusing:
            logger.warning(
                "%s does not say what a stream of %s used: it refused to be asked. Its streams are "
                "not metered (llm_usage_missing_total).",
                host,
                model,
            )
        self._refusing[frame.asked] = time.monotonic() + _REFUSED_FOR

    def build_request(
        self, wrapped: Callable[..., Any], client: Any, args: Any, kwargs: dict[str, Any]
    ) -> Any:
        """One HTTP attempt."""
        options = args[0] if args else kwargs.get("options")
        retries = kwargs.get("retries_taken")
        mark = guard.call("describe", self._begin, client, options, retries)
        asking = mark.filter if isinstance(mark, _Attempt) else None
        if asking is None:
            request = wrapped(*args, **kwargs)
        else:
            with _asking_for_usage(options):
                request = wrapped(*args, **kwargs)
        if mark is not None:
            guard.call("describe", _attach, request, mark)
        return request

    def _begin(
        self, client: Any, options: Any, retries: int | None
    ) -> "_Attempt | jobs.Following | None":
        body = options.json_data if options.extra_json is None else _effective_body(options)
        base_url, name = _known(client)
        told = body if isinstance(body, MAPPING) else NOTHING
        stream = told.get("stream") is True
        described = providers.describe(
            self._sdk,
            options.method,
            options.url,
            body,
            base_url=base_url,
            client=name,
            headers=options.headers if isinstance(options.headers, MAPPING) else None,
            stream=stream,
            hosts=self._meters.hosts,
        )
        if described is None:
            asked = self._sdk, options.method, options.url
            place: dict[str, Any] = {
                "base_url": base_url,
                "client": name,
                "hosts": self._meters.hosts,
            }
            described = jobs.begun(*asked, body, **place)
            if described is None:
                return jobs.follow(self._meters.meter, *asked, **place)
        frame = _frame.get()
        # the first attempt of a passage takes nothing over
        call = None if frame is not None and frame.first is None else _taken_over(frame, retries)
        if call is None:
            call = self._meters.meter.begin(described)
        filter_ = None
        if stream and self._sdk == "openai":
            filter_ = self._filter(client, options, base_url, told, frame)
        attempt = (_Lone if frame is None else _Attempt)(call, filter_, frame)
        if frame is None:
            _attempt.set(ref(attempt))
        else:
            if frame.first is None:
                frame.first = attempt
            else:
                frame.follow(attempt)
            frame.attempts.append(attempt)
            if call.span is not None or self._meters.meter.hush is not None:
                call.activate()
        return attempt

    def _filter(
        self,
        client: Any,
        options: Any,
        base_url: str,
        body: Mapping[str, Any],
        frame: _Frame | None,
    ) -> Filter | None:
        """How to hide the usage that we ask for, or `None` where we don't ask."""
        name, model = _client_name(type(client)), body.get("model")
        asked = base_url, model if isinstance(model, str) else None
        if self._refusing.get(asked, 0.0) > time.monotonic():
            return None
        if frame is None:
            # only who is around all attempts can make another one when the question is refused
            if not providers.takes_the_question(base_url, client=name):
                return None
        elif not frame.asks:
            return None
        filter_ = providers.usage_filter(
            base_url,
            _with_version(client, options),
            body,
            client=name,
            override=self._meters.stream_usage,
        )
        if filter_ is not None and frame is not None:
            frame.asked = asked
        return filter_

    def process_response(
        self, wrapped: Callable[..., Any], client: Any, args: Any, kwargs: dict[str, Any]
    ) -> Any:
        """One physical response, not parsed yet."""
        guard.call("observe", self._observe, kwargs.get("response"), kwargs.get("stream"))
        return wrapped(*args, **kwargs)

    def _observe(self, response: Any, stream: Any) -> None:
        request = getattr(response, "_request", None)  # `.request` raises where there is none
        attempt = request.extensions.get(KEY) if request is not None else None
        if isinstance(attempt, _Attempt):
            if attempt.observed:
                return
            if 200 <= response.status_code < 300:
                self._attend(attempt, response, stream=bool(stream))
            else:
                attempt.refused = response.status_code  # with middleware, refusals come here, too
        elif isinstance(attempt, jobs.Following) and response.is_success:
            _follow(attempt, response, stream=bool(stream))

    def _attend(self, attempt: _Attempt, response: Any, *, stream: bool) -> None:
        """Read a successful response along."""
        if response is None:
            return
        call = attempt.call
        if call.attached is not None:
            call.deactivate()
        call.seen = attempt.observed = True
        read = hasattr(response, "_content")
        streamed = stream or call.request.stream
        if read and not streamed:
            on_abort = self._meters.on_abort
            take_whole(call, on_abort, response._content, response.headers, attempt.request_body)
            return
        observation = attempt.observe(self._meters.on_abort)
        if observation is None:
            return
        observation.headers(response.headers)
        if read:
            response._content = _read_already(observation, attempt.filter, response)
            return
        read_along(response, _tap(observation, attempt.filter, response, stream))


def _follow(following: jobs.Following, response: Any, *, stream: bool) -> None:
    """Read a successful response along that may tell the end of earlier work."""
    if not following.begin(whole=response.status_code == 200):
        return
    if hasattr(response, "_content"):
        following.content(response.content)
        following.finish("eof")
        return
    splitter, data = following.cut(stream=stream)
    reader: Any = following  # what a tap asks of an observation, it has
    read_along(response, Tap(reader, decoder_of(response), splitter=splitter, data=data))


def _tap(observation: Observation, filter_: Filter | None, response: Any, stream: bool) -> Tap:
    decoder = decoder_of(response)
    if "vnd.amazon.eventstream" in response.headers.get("content-type", ""):
        return Tap(observation, decoder, splitter=wire.FrameSplitter(), data=wire.frame_data)
    # real servers leave out or misspell the content type: the caller's `stream=True` decides
    if stream or observation.call.request.stream:
        keep = filter_
        if keep is not None and not isinstance(decoder, wire.Plain):
            # compressed though we asked for plain bytes: what comes out of the decoder is filtered
            response._decoder = HidingDecoder(response._get_content_decoder(), keep)
            keep = None
        return Tap(observation, decoder, splitter=wire.SseSplitter(), keep=keep)
    return Tap(
        observation,
        decoder,
        splitter=None,
        blind=not observation.needs_body,
        length=length_of(response),
    )


def _read_already(observation: Observation, filter_: Filter | None, response: Any) -> bytes:
    """A stream whose body somebody (a logging hook) has read: what the caller is to see of it."""
    framed = "vnd.amazon.eventstream" in response.headers.get("content-type", "")
    splitter, data = (
        (wire.FrameSplitter(), wire.frame_data) if framed else (wire.SseSplitter(), wire.sse_data)
    )
    tap = Tap(observation, wire.Plain(), splitter=splitter, data=data, keep=filter_)
    return tap.take(response.content) + tap.end()


def _with_version(client: Any, options: Any) -> str:
    """The URL with Azure's version, which the client adds only when it makes the request."""
    for query in (options.params, getattr(client, "default_query", None)):
        version = query.get("api-version") if isinstance(query, Mapping) else None
        if isinstance(version, str):
            return f"{options.url}?api-version={version}"
    return str(options.url)


def _attach(request: Any, mark: _Attempt | jobs.Following) -> None:
    """Let it travel with the request to the response."""
    if isinstance(mark, _Attempt):
        mark.sent = True
        mark.request_body = getattr(request, "_content", None)
        if mark.filter is not None:
            request.headers["accept-encoding"] = "identity"
    request.extensions = {**request.extensions, KEY: mark}


def _taken_over(frame: _Frame | None, retries: int | None) -> Call | None:
    """The call of the attempt before this one, if this is its retry."""
    latest = _attempt.get()
    before = None if latest is None else latest()
    if frame is not None and (before is None or before.frame is not frame):
        before = frame.first  # nobody followed it in this task
    if frame is not None and frame.again is not None:
        before, frame.again, retries = frame.again, None, None
    if before is None or before.frame is not frame or before.handed_on:
        return None
    call = before.call
    if call.seen or call.settled:
        call.deactivate()
        return None
    # older versions do not say which attempt this is: there one attempt follows the other
    if retries == 0 or (retries is None and frame is None):
        return None
    before.handed_on = True
    if frame is not None:
        frame.attempts.remove(before)
    return call


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


_clients: "dict[int, tuple[Any, ref[type], tuple[str, str]]]" = {}
_MOST_CLIENTS = 1000


def _known(client: Any) -> tuple[str, str]:
    """A client's base URL, and the SDK's own class of it: the same at each call, and slow to find out."""
    # newer versions import something each time that the property is asked
    url = getattr(client, "_base_url", None)
    if url is None:
        url = client.base_url
    kind = type(client)
    known = _clients.get(id(url))
    if known is None or known[0] is not url or known[1]() is not kind:
        if len(_clients) >= _MOST_CLIENTS:
            _clients.clear()
        known = _clients[id(url)] = (url, ref(kind), (str(url), _client_name(kind)))
    return known[2]


_names: "WeakKeyDictionary[type, str]" = WeakKeyDictionary()


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
