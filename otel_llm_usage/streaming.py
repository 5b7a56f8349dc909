"""A stream of the application's own chunks that ends with what it has used and cost."""

import json
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Awaitable,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
)
from contextlib import aclosing, closing
from inspect import isawaitable, iscoroutinefunction
from typing import Any, TypeVar, overload

from . import around, guard
from .tracking import UsageScope, call_usage

C = TypeVar("C")

Render = Callable[[dict[str, Any]], Any]
"""Makes a chunk of the application's kind out of an item of ours."""

OnEnd = Callable[[UsageScope], object]
"""Is told the scope of what has ended."""

AsyncOnEnd = Callable[[UsageScope], Awaitable[object] | object]
"""The same; may be a coroutine function."""


@overload
def stream_with_usage(
    chunks: AsyncIterable[C],
    usage: UsageScope | None = None,
    *,
    each_call: bool = False,
    render: Render | None = None,
    on_end: AsyncOnEnd | None = None,
) -> AsyncGenerator[C | Any, None]: ...


@overload
def stream_with_usage(
    chunks: Iterable[C],
    usage: UsageScope | None = None,
    *,
    each_call: bool = False,
    render: Render | None = None,
    on_end: OnEnd | None = None,
) -> Generator[C | Any, None, None]: ...


def stream_with_usage(
    chunks: AsyncIterable[C] | Iterable[C],
    usage: UsageScope | None = None,
    *,
    each_call: bool = False,
    render: Render | None = None,
    on_end: AsyncOnEnd | None = None,
) -> AsyncGenerator[C | Any, None] | Generator[C | Any, None, None]:
    """The chunks, and then what they came to: `stream_with_usage(answer(question))`.

    The last item is `UsageScope.token_summary()`, a dict, or what `render` makes of it (`sse`). An
    iterable becomes a generator, an async iterable an async one. What makes the chunks runs inside the
    scope `usage`, a new one if left out; what is done with them does not.

    `each_call`: also a `token_usage` item for each call, after the chunk before which it ended.
    `on_end`: called once with the scope when there are no more chunks, also if the stream is left
    early or fails; then there is no summary. In an async stream it may be a coroutine function.
    """
    if usage is None:
        usage = UsageScope()
    elif not isinstance(usage, UsageScope):
        raise TypeError(
            f"stream_with_usage(usage=...) takes a scope, as track() makes: got {usage!r}"
        )
    usages = _Usages(usage, each_call, render)
    if isinstance(chunks, AsyncIterable):
        return _async_stream(chunks, usages, on_end)
    if not isinstance(chunks, Iterable):
        raise TypeError(
            "stream_with_usage() takes what can be iterated over, by `for` or `async for` (of a "
            f"generator function, what it returns; of a coroutine, what it gives): got {chunks!r}"
        )
    if iscoroutinefunction(on_end):
        raise TypeError(
            "stream_with_usage(on_end=...) can't be awaited where the chunks are not async"
        )
    return _stream(chunks, usages, on_end)


def sse(item: Mapping[str, Any]) -> str:
    """An item as a server-sent event."""
    return f"data: {json.dumps(item)}\n\n"


def ended(on_end: OnEnd | None, usage: UsageScope) -> None:
    """Tell whoever wants to know; what he raises is counted and logged."""
    if on_end is not None:
        with guard.guarded("on_end"):
            on_end(usage)


async def ended_async(on_end: AsyncOnEnd | None, usage: UsageScope) -> None:
    """The same, and wait for him."""
    if on_end is not None:
        with guard.guarded("on_end"):
            telling = on_end(usage)
            if isawaitable(telling):
                await telling


class _Usages:
    """What of ours goes between the chunks, and after them."""

    def __init__(self, usage: UsageScope, each_call: bool, render: Render | None) -> None:
        self.usage = usage
        self._each_call = each_call
        self._render = render
        self._seen = usage.since(0)[1] if each_call else 0

    def calls(self) -> Iterator[Any]:
        """An item for each call that has ended since."""
        if self._each_call:
            new, self._seen = self.usage.since(self._seen)
            for record in new:
                yield from self._item(call_usage, record)

    def rest(self) -> Iterator[Any]:
        """What comes after the last chunk."""
        yield from self.calls()
        yield from self._item(self.usage.token_summary)

    def _item(self, make: Callable[..., dict[str, Any]], *of: Any) -> Iterable[Any]:
        made = []
        with guard.guarded("stream"):
            item = make(*of)
            made.append(item if self._render is None else self._render(item))
        return made


def _stream(
    chunks: Iterable[Any], usages: _Usages, on_end: OnEnd | None
) -> Generator[Any, None, None]:
    try:
        with closing(around.Steps(usages.usage, chunks)) as steps:
            for chunk in steps:
                yield chunk
                yield from usages.calls()
    finally:
        ended(on_end, usages.usage)
    yield from usages.rest()


async def _async_stream(
    chunks: AsyncIterable[Any], usages: _Usages, on_end: AsyncOnEnd | None
) -> AsyncGenerator[Any, None]:
    try:
        async with aclosing(around.AsyncSteps(usages.usage, chunks)) as steps:
            async for chunk in steps:
                yield chunk
                for item in usages.calls():
                    yield item
    finally:
        await ended_async(on_end, usages.usage)
    for item in usages.rest():
        yield item
