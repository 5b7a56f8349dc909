"""A context manager around each call of a function, whatever kind of function it is."""

from collections.abc import AsyncGenerator, AsyncIterable, Callable, Generator, Iterable
from contextlib import AbstractContextManager
from functools import partial, wraps
from inspect import isasyncgenfunction, isawaitable, iscoroutinefunction, isgeneratorfunction
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any


def function(block: AbstractContextManager[Any], wrapped: Callable[..., Any]) -> Callable[..., Any]:
    """`wrapped` with the block around its code: around each step of it, if it is a generator."""
    if isasyncgenfunction(wrapped):
        return wraps(wrapped)(_async_generator(block, wrapped))
    if isgeneratorfunction(wrapped):
        return wraps(wrapped)(_generator(block, wrapped))
    if iscoroutinefunction(wrapped):

        @wraps(wrapped)
        async def coroutine(*args: Any, **kwargs: Any) -> Any:
            with block:
                return await wrapped(*args, **kwargs)

        return coroutine

    @wraps(wrapped)
    def plain(*args: Any, **kwargs: Any) -> Any:
        with block:
            made = wrapped(*args, **kwargs)
        return _later(block, made) if isinstance(made, _LATER) else made

    return plain


_LATER = (CoroutineType, GeneratorType, AsyncGeneratorType)


def _later(block: AbstractContextManager[Any], made: Any) -> Any:
    """What runs when the function has returned: such as a decorator's that returns a coroutine."""

    def given() -> Any:
        return made

    if isinstance(made, AsyncGeneratorType):
        return _async_generator(block, given)()
    if isinstance(made, GeneratorType):
        return _generator(block, given)()

    async def coroutine() -> Any:
        with block:
            return await made

    return coroutine()


def _generator(
    block: AbstractContextManager[Any], wrapped: Callable[..., Generator[Any, Any, Any]]
) -> Callable[..., Generator[Any, Any, Any]]:
    """A generator function whose steps run inside the block."""

    def steps(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        return (yield from Steps(block, wrapped(*args, **kwargs)))

    return steps


class Steps(Generator[Any, Any, Any]):
    """A generator, or whatever can be iterated over, each step of which is made inside the block."""

    def __init__(self, block: AbstractContextManager[Any], whole: Iterable[Any]) -> None:
        self._block = block
        self._whole = whole
        self._made: Any = None

    def send(self, value: Any) -> Any:
        with self._block:
            if self._made is None:
                self._made = iter(self._whole)
            return next(self._made) if value is None else self._made.send(value)

    def throw(self, *error: Any) -> Any:
        with self._block:
            return self._made.throw(*error)

    def close(self) -> None:
        # a WSGI answer is closed itself, once; else the generator that an iterable has made
        close = getattr(self._whole, "close", None) or getattr(self._made, "close", None)
        if close is not None:
            with self._block:
                close()


def _async_generator(
    block: AbstractContextManager[Any], wrapped: Callable[..., AsyncGenerator[Any, Any]]
) -> Callable[..., AsyncGenerator[Any, Any]]:
    """An async generator function whose steps run inside the block."""

    async def steps(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        made = AsyncSteps(block, wrapped(*args, **kwargs))
        step: Callable[[], Any] = partial(anext, made)
        try:
            while True:
                try:
                    value = await step()
                except StopAsyncIteration:
                    return
                try:
                    step = partial(made.asend, (yield value))
                except GeneratorExit:
                    raise
                except BaseException as error:  # noqa: BLE001 (it is the generator's)
                    step = partial(made.athrow, error)
        finally:
            await made.aclose()

    return steps


class AsyncSteps(AsyncGenerator[Any, Any]):
    """The same for what is iterated over by `async for`."""

    def __init__(self, block: AbstractContextManager[Any], whole: AsyncIterable[Any]) -> None:
        self._block = block
        self._whole = whole
        self._made: Any = None

    async def asend(self, value: Any) -> Any:
        with self._block:
            if self._made is None:
                self._made = aiter(self._whole)
            return await (anext(self._made) if value is None else self._made.asend(value))

    async def athrow(self, *error: Any) -> Any:
        with self._block:
            return await self._made.athrow(*error)

    async def aclose(self) -> None:
        # streams of SDKs spell it `close`
        names = [(one, name) for one in (self._whole, self._made) for name in ("aclose", "close")]
        close = next((getattr(one, name) for one, name in names if hasattr(one, name)), None)
        if close is not None:
            with self._block:
                closing = close()
                if isawaitable(closing):
                    await closing
