"""The seams of google-genai's second HTTP stack: interactions, decisions, voices (2.9 and later).

One `do_request` is around all attempts of a request, and gives back the last response, be it an
error, before the SDK parses it. Up to 2.7 `stainless` serves this stack.

A stream may be sent in hops, and the later ones go out while it is being read: the seams on those
count nothing, they only keep the caller's context for the moment of the request.
"""

from collections.abc import Callable
from typing import Any

from opentelemetry import context as otel_context

from .. import guard, scope
from ..meter import Outcome
from ..providers import interactions
from . import jobs, wire
from .engine import Seam
from .observation import Meters, begin, take_whole
from .passage import Asked, around, around_async
from .tee import Tap, decoder_of, length_of, read_along

BASE = "google.genai._gaos.basesdk"
HOPS = "google.genai._interactions_continuation"


class Gaos:
    """The wrappers for this stack."""

    def __init__(self, meters: Meters) -> None:
        self._meters = meters

    def seams(self) -> list[Seam]:
        """Where the wrappers go: other versions have another stack, or none of these features."""
        return [
            Seam("google", module, path, wrapper, optional=True)
            for module, path, wrapper in (
                (BASE, "BaseSDK.do_request", self.do_request),
                (BASE, "AsyncBaseSDK.do_request_async", self.do_request_async),
                (HOPS, "wrap_stream_continuation", keep_caller),
                (HOPS, "wrap_async_stream_continuation", keep_caller_async),
            )
        ]

    def do_request(
        self, wrapped: Callable[..., Any], client: Any, args: Any, kwargs: dict[str, Any]
    ) -> Any:
        """All attempts of one request."""
        asked = guard.call("describe", self._ask, args, kwargs)
        return around(asked, wrapped, args, kwargs)

    async def do_request_async(
        self, wrapped: Callable[..., Any], client: Any, args: Any, kwargs: dict[str, Any]
    ) -> Any:
        """The same, async."""
        asked = guard.call("describe", self._ask, args, kwargs)
        return await around_async(asked, wrapped, args, kwargs)

    def _ask(self, args: Any, kwargs: dict[str, Any]) -> "_Asked | _Looked | None":
        request = kwargs["request"] if "request" in kwargs else args[1]
        url, hosts = str(request.url), self._meters.hosts
        body = getattr(request, "_content", None)
        described = interactions.describe(
            request.method, url, body, headers=request.headers, hosts=hosts
        )
        if described is None:
            following = jobs.follow(
                self._meters.meter,
                "google",
                request.method,
                url,
                base_url=url,
                client=interactions.client_of(url),
                hosts=hosts,
            )
            return None if following is None else _Looked(following, "stream=true" in url)
        call = begin(self._meters.meter, described)
        return None if call is None else _Asked(call, self._meters.on_abort, body)


class _Asked(Asked):
    """A request that is billed, and has no answer yet."""

    __slots__ = ()

    def answered(self, response: Any) -> None:
        """The last attempt got this."""
        self.over()
        guard.call("observe", self._read, response)

    def _read(self, response: Any) -> None:
        if not response.is_success:
            status = response.status_code
            self.call.settle(
                Outcome("error", billed=False, error_type=str(status), http_status=status)
            )
        elif hasattr(response, "_content"):
            whole = response.content
            take_whole(self.call, self._on_abort, whole, response.headers, self._body)
        else:
            observation = self.observe()
            if observation is not None:
                observation.headers(response.headers)
                _read_along(response, observation, stream=self.call.request.stream)


class _Looked:
    """A request that may be answered with the end of an earlier one's work."""

    __slots__ = ("_following", "_stream")

    def __init__(self, following: jobs.Following, stream: bool) -> None:
        self._following = following
        self._stream = stream

    def answered(self, response: Any) -> None:
        """The last attempt got this."""
        guard.call("observe", self._read, response)

    def _read(self, response: Any) -> None:
        following = self._following
        if not response.is_success or not following.begin(whole=response.status_code == 200):
            return
        if hasattr(response, "_content"):
            following.content(response.content)
            following.finish("eof")
        else:
            _read_along(response, following, stream=self._stream)

    def failed(self, error: BaseException) -> None:
        """The last attempt got nothing."""


def _read_along(response: Any, reader: Any, *, stream: bool) -> None:
    tap = Tap(
        reader,
        decoder_of(response),
        splitter=wire.SseSplitter() if stream else None,
        length=length_of(response),
    )
    read_along(response, tap)


# later hops


def keep_caller(
    wrapped: Callable[..., Any], instance: Any, args: Any, kwargs: dict[str, Any]
) -> Any:
    """They are charged to whoever made the stream, not to whoever reads it."""
    caller = otel_context.get_current()

    def kept(send: Callable[..., Any]) -> Callable[..., Any]:
        def within(*args: Any, **kwargs: Any) -> Any:
            token = otel_context.attach(scope.lent(caller))
            try:
                return send(*args, **kwargs)
            finally:
                otel_context.detach(token)

        return within

    args, kwargs = _sending(kept, args, kwargs) if caller else (args, kwargs)
    return wrapped(*args, **kwargs)


def keep_caller_async(
    wrapped: Callable[..., Any], instance: Any, args: Any, kwargs: dict[str, Any]
) -> Any:
    """The same for async streams."""
    caller = otel_context.get_current()

    def kept(send: Callable[..., Any]) -> Callable[..., Any]:
        async def within(*args: Any, **kwargs: Any) -> Any:
            token = otel_context.attach(scope.lent(caller))
            try:
                return await send(*args, **kwargs)
            finally:
                otel_context.detach(token)

        return within

    args, kwargs = _sending(kept, args, kwargs) if caller else (args, kwargs)
    return wrapped(*args, **kwargs)


def _sending(
    kept: Callable[[Callable[..., Any]], Callable[..., Any]], args: Any, kwargs: dict[str, Any]
) -> tuple[Any, dict[str, Any]]:
    """The arguments of a seam on hops, with another function that sends the next one."""
    if len(args) > 1:
        return (args[0], kept(args[1]), *args[2:]), kwargs
    send = kwargs.get(_SEND)
    return args, kwargs if send is None else {**kwargs, _SEND: kept(send)}


_SEND = "create_next_stream"
