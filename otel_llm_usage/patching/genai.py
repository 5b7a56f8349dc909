"""The seams of the google-genai SDK: four `request*` methods, one call a turn or hop.

They are the same for every HTTP library underneath. Streams start lazily: the seams on the public
stream methods count nothing, they only keep the caller's context for the moment of the request.
"""

import json
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from functools import partial
from typing import Any

from opentelemetry import context as otel_context

from .. import guard, providers, scope
from ..meter import Call
from ..records import NOTHING
from . import jobs
from .engine import Seam
from .observation import Meters, Observation, begin, settle_failed, take_whole
from .passage import Asked, around, around_async

CLIENT = "google.genai._api_client"


class GoogleGenAI:
    """The wrappers for google-genai."""

    def __init__(self, meters: Meters) -> None:
        self._meters = meters

    def seams(self) -> list[Seam]:
        """Where the wrappers go."""
        counted = [
            Seam(
                "google", CLIENT, f"BaseApiClient.{method}", wrapper, older=(f"ApiClient.{method}",)
            )
            for method, wrapper in (
                ("request", self.request),
                ("async_request", self.async_request),
                ("request_streamed", self.request_streamed),
                ("async_request_streamed", self.async_request_streamed),
                ("download_file", self.download_file),
                ("async_download_file", self.async_download_file),
            )
        ]
        lazy = [
            Seam("google", f"google.genai.{module}", path, wrapper)
            for module, path, wrapper in (
                ("models", "Models.generate_content_stream", keep_context),
                ("chats", "Chat.send_message_stream", keep_context),
                ("models", "AsyncModels.generate_content_stream", keep_context_async),
                ("chats", "AsyncChat.send_message_stream", keep_context_async),
            )
        ]
        return [*counted, *lazy]

    def request(
        self, wrapped: Callable[..., Any], client: Any, args: Any, kwargs: dict[str, Any]
    ) -> Any:
        """One plain request."""
        asked = guard.call("describe", self._ask, client, args, kwargs)
        return around(asked, wrapped, args, kwargs)

    async def async_request(
        self, wrapped: Callable[..., Any], client: Any, args: Any, kwargs: dict[str, Any]
    ) -> Any:
        """One plain request, async."""
        asked = guard.call("describe", self._ask, client, args, kwargs)
        return await around_async(asked, wrapped, args, kwargs)

    def request_streamed(
        self, wrapped: Callable[..., Any], client: Any, args: Any, kwargs: dict[str, Any]
    ) -> Generator[Any, None, None]:
        """A stream: the request goes out at the first `next()`."""
        observation = guard.call("describe", self._begin, client, args, kwargs)
        if observation is None:
            yield from wrapped(*args, **kwargs)
            return
        try:
            for chunk in wrapped(*args, **kwargs):
                observation.chunk(chunk)
                yield chunk
        except GeneratorExit:
            observation.finish("closed")
            raise
        except BaseException as error:
            observation.failed(error)
            raise
        observation.finish("eof")

    async def async_request_streamed(
        self, wrapped: Callable[..., Any], client: Any, args: Any, kwargs: dict[str, Any]
    ) -> Any:
        """A stream, async: the request goes out now."""
        observation = guard.call("describe", self._begin, client, args, kwargs)
        if observation is None:
            return await wrapped(*args, **kwargs)
        try:
            chunks = await wrapped(*args, **kwargs)
        except BaseException as error:
            observation.failed(error)
            raise
        observation.call.deactivate()
        return _observed(chunks, observation)

    def download_file(
        self, wrapped: Callable[..., Any], client: Any, args: Any, kwargs: dict[str, Any]
    ) -> Any:
        """A file: it may be what a batch put out."""
        followed = guard.call("describe", self._file, client, args, kwargs)
        data = wrapped(*args, **kwargs)
        if followed is not None and isinstance(data, bytes):  # or it went elsewhere
            followed.took(data)
        return data

    async def async_download_file(
        self, wrapped: Callable[..., Any], client: Any, args: Any, kwargs: dict[str, Any]
    ) -> Any:
        """A file, async."""
        followed = guard.call("describe", self._file, client, args, kwargs)
        data = await wrapped(*args, **kwargs)
        if followed is not None and isinstance(data, bytes):
            followed.took(data)
        return data

    def _file(self, client: Any, args: Any, kwargs: dict[str, Any]) -> "_Followed | None":
        path = args[0] if args else kwargs.get("path")
        return self._follow(client, "GET", str(path))

    def _follow(self, client: Any, method: str, path: str) -> "_Followed | None":
        following = jobs.follow(self._meters.meter, "google", method, path, **self._place(client))
        return None if following is None else _Followed(following)

    def _place(self, client: Any) -> dict[str, Any]:
        """Where the requests of a client go."""
        return {
            "base_url": str(_option(client._http_options, "base_url") or ""),
            "client": "vertex" if getattr(client, "vertexai", False) else "",
            "hosts": self._meters.hosts,
        }

    def _ask(self, client: Any, args: Any, kwargs: dict[str, Any]) -> "_Asked | _Followed | None":
        """A request that is about to be sent; `None` if it tells nothing of any bill."""
        method, path, body = _arguments(*args, **kwargs)
        asked = "google", method, _placed(client, path), body
        place = self._place(client)
        described = providers.describe(*asked, **place) or jobs.begun(*asked, **place)
        if described is None:
            return self._follow(client, method, path)
        call = begin(self._meters.meter, described)
        return None if call is None else _Asked(call, self._meters.on_abort, partial(_sent, body))

    def _begin(self, client: Any, args: Any, kwargs: dict[str, Any]) -> "_GoogleObservation | None":
        asked = self._ask(client, args, kwargs)
        observation = asked.observe() if isinstance(asked, _Asked) else None
        return None if observation is None else _GoogleObservation(observation)


class _Asked(Asked):
    """A request that has no answer yet."""

    __slots__ = ()

    def answered(self, response: Any) -> None:
        """With a whole response: `SdkHttpResponse`, or its body as a dict (up to 1.20)."""
        self.over()
        headers, body = guard.call("observe", _headers_and_body, response) or (None, "")
        take_whole(self.call, self._on_abort, body, headers or NOTHING, self._body)

    def failed(self, error: BaseException) -> None:
        """The request raised; what the SDK cannot read was an answer all the same."""
        observation = self.observe() if isinstance(error.__cause__, json.JSONDecodeError) else None
        if observation is None:
            super().failed(error)
        else:
            _GoogleObservation(observation).failed(error)


def _sent(body: Any) -> bytes:
    return json.dumps(body, default=str).encode()


class _Followed:
    """A request that has no answer yet, and is no call: its answer may end earlier work."""

    __slots__ = ("_following",)

    def __init__(self, following: jobs.Following) -> None:
        self._following = following

    def answered(self, response: Any) -> None:
        """See `_Asked.answered`."""
        _, body = guard.call("observe", _headers_and_body, response) or (None, "")
        self.took(body)

    def took(self, body: bytes | str) -> None:
        """This is all of the answer."""
        self._following.content(body)
        self._following.finish("eof")

    def failed(self, error: BaseException) -> None:
        """It tells nothing, then."""


def _placed(client: Any, path: str) -> str:
    """The path below the project, as Vertex gets it: the location is part of the price."""
    location = getattr(client, "location", None)
    if not (getattr(client, "vertexai", False) and location) or path.startswith("projects/"):
        return path
    return f"projects/{getattr(client, 'project', None)}/locations/{location}/{path}"


def _arguments(
    http_method: str, path: str, request_dict: Any = None, http_options: Any = None
) -> tuple[str, str, Any]:
    return http_method, path, request_dict


def _option(options: Any, name: str) -> Any:
    return options.get(name) if isinstance(options, Mapping) else getattr(options, name, None)


class _GoogleObservation:
    """An observation that is fed what the SDK's seam gives back."""

    __slots__ = ("_begun", "_observation")

    def __init__(self, observation: Observation) -> None:
        self._begun = False
        self._observation = observation

    @property
    def call(self) -> Call:
        return self._observation.call

    def chunk(self, response: Any) -> None:
        """One chunk of a stream."""
        self.call.deactivate()
        guard.call("observe", self._chunk, response)

    def _chunk(self, response: Any) -> None:
        headers, body = _headers_and_body(response)
        self._headers(headers)
        self._observation.event(body)

    def _headers(self, headers: Any) -> None:
        if not self._begun and headers is not None:
            self._begun = True
            self._observation.headers(headers)

    def failed(self, error: BaseException) -> None:
        """The request, or its stream, raised."""
        self.call.deactivate()
        if isinstance(error.__cause__, json.JSONDecodeError):
            guard.call("observe", self._unread, error.__cause__.doc)
        elif not self._begun:
            settle_failed(self._observation.call, error)
        self._observation.finish("failed", error)

    def _unread(self, part: str) -> None:
        """A part of a stream that came, and that the SDK cannot read: an array, a page of HTML."""
        chunk = part.lstrip("[, \r\n")
        if _is_json(chunk):
            self._observation.event(chunk)
        elif not self._begun and not chunk.startswith("{"):
            self._observation.body(part)

    def finish(self, how: Any) -> None:
        """See `Observation.finish`."""
        self.call.deactivate()
        self._observation.finish(how)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _headers_and_body(response: Any) -> tuple[Any, str]:
    if isinstance(response, Mapping):
        return None, json.dumps(response)
    return response.headers, response.body or ""


async def _observed(chunks: Any, observation: _GoogleObservation) -> AsyncGenerator[Any, None]:
    try:
        async for chunk in chunks:
            observation.chunk(chunk)
            yield chunk
    except GeneratorExit:
        observation.finish("closed")
        raise
    except BaseException as error:
        observation.failed(error)
        raise
    observation.finish("eof")


def keep_context(
    wrapped: Callable[..., Any], instance: Any, args: Any, kwargs: dict[str, Any]
) -> Any:
    """A lazy stream is charged to whoever made it, not to whoever reads it."""
    made = wrapped(*args, **kwargs)
    caller = otel_context.get_current()
    if not caller or not isinstance(made, Generator):
        return made
    return _named_like(made, _within(made, caller))


def _within(made: Generator[Any, Any, Any], caller: Any) -> Generator[Any, Any, Any]:
    try:
        while True:
            token = otel_context.attach(scope.lent(caller))
            try:
                value = next(made)
            except StopIteration as end:
                return end.value
            finally:
                otel_context.detach(token)
            yield value
    finally:
        made.close()


async def keep_context_async(
    wrapped: Callable[..., Any], instance: Any, args: Any, kwargs: dict[str, Any]
) -> Any:
    """The same for async streams."""
    made = await wrapped(*args, **kwargs)
    caller = otel_context.get_current()
    if not caller or not isinstance(made, AsyncGenerator):
        return made
    return _named_like(made, _within_async(made, caller))


async def _within_async(made: AsyncGenerator[Any, Any], caller: Any) -> AsyncGenerator[Any, Any]:
    try:
        while True:
            token = otel_context.attach(scope.lent(caller))
            try:
                value = await anext(made)
            except StopAsyncIteration:
                return
            finally:
                otel_context.detach(token)
            yield value
    finally:
        await made.aclose()


def _named_like(made: Any, ours: Any) -> Any:
    ours.__name__, ours.__qualname__ = made.__name__, made.__qualname__
    return ours
