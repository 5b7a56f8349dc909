"""The seams of the google-genai SDK: four `request*` methods, one call a turn or hop.

They are the same for every HTTP library underneath. Streams start lazily: the seams on the public
stream methods count nothing, they only keep the caller's context for the moment of the request.
"""

import json
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from typing import Any

from opentelemetry import context as otel_context

from .. import guard, providers, scope
from ..meter import Call
from .engine import Seam
from .observation import Meters, Observation, begin, observe, settle_failed

CLIENT = "google.genai._api_client"


class GoogleGenAI:
    """The wrappers for google-genai."""

    def __init__(self, meters: Meters) -> None:
        self._meters = meters

    def seams(self) -> list[Seam]:
        """Where the wrappers go."""
        counted = [
            Seam("google", CLIENT, f"BaseApiClient.{method}", wrapper)
            for method, wrapper in (
                ("request", self.request),
                ("async_request", self.async_request),
                ("request_streamed", self.request_streamed),
                ("async_request_streamed", self.async_request_streamed),
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
        observation = guard.call("describe", self._begin, client, args, kwargs)
        if observation is None:
            return wrapped(*args, **kwargs)
        try:
            response = wrapped(*args, **kwargs)
        except BaseException as error:
            observation.failed(error)
            raise
        observation.whole(response)
        return response

    async def async_request(
        self, wrapped: Callable[..., Any], client: Any, args: Any, kwargs: dict[str, Any]
    ) -> Any:
        """One plain request, async."""
        observation = guard.call("describe", self._begin, client, args, kwargs)
        if observation is None:
            return await wrapped(*args, **kwargs)
        try:
            response = await wrapped(*args, **kwargs)
        except BaseException as error:
            observation.failed(error)
            raise
        observation.whole(response)
        return response

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

    def _begin(self, client: Any, args: Any, kwargs: dict[str, Any]) -> "_GoogleObservation | None":
        method, path, body = _arguments(*args, **kwargs)
        options = client._http_options
        described = providers.describe(
            "google",
            method,
            _placed(client, path),
            body,
            base_url=str(_option(options, "base_url") or ""),
            client="vertex" if getattr(client, "vertexai", False) else "",
            hosts=self._meters.hosts,
        )
        call = begin(self._meters.meter, described) if described is not None else None
        if call is None:
            return None
        observation = observe(
            call, self._meters.on_abort, lambda: json.dumps(body, default=str).encode()
        )
        if observation is None:
            return None
        call.activate()
        return _GoogleObservation(observation)


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

    def whole(self, response: Any) -> None:
        """A whole response: `SdkHttpResponse`, or its body as a dict (up to 1.20)."""
        self.call.deactivate()
        guard.call("observe", self._whole, response)
        self._observation.finish("eof")

    def _whole(self, response: Any) -> None:
        headers, body = _headers_and_body(response)
        self._headers(headers)
        self._observation.body(body)

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
            self._observation.headers({str(k).lower(): str(v) for k, v in dict(headers).items()})

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
