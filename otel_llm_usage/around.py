"""A context manager around each call of a function, whatever kind of function it is."""

from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractContextManager
from functools import partial, wraps
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction
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
            return wrapped(*args, **kwargs)

    return plain


def _generator(
    block: AbstractContextManager[Any], wrapped: Callable[..., Generator[Any, Any, Any]]
) -> Callable[..., Generator[Any, Any, Any]]:
    """A generator function whose steps run inside the block."""

    def steps(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        return (yield from _Steps(block, wrapped(*args, **kwargs)))

    return steps


class _Steps(Generator[Any, Any, Any]):
    """A generator, each step of which is made inside the block."""

    def __init__(self, block: AbstractContextManager[Any], made: Generator[Any, Any, Any]) -> None:
        self._block = block
        self._made = made

    def send(self, value: Any) -> Any:
        with self._block:
            return self._made.send(value)

    def throw(self, *error: Any) -> Any:
        with self._block:
            return self._made.throw(*error)

    def close(self) -> None:
        with self._block:
            self._made.close()


def _async_generator(
    block: AbstractContextManager[Any], wrapped: Callable[..., AsyncGenerator[Any, Any]]
) -> Callable[..., AsyncGenerator[Any, Any]]:
    """An async generator function whose steps run inside the block."""

    async def steps(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        made = wrapped(*args, **kwargs)
        step: Callable[[], Any] = partial(anext, made)
        try:
            while True:
                try:
                    with block:
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
            with block:
                await made.aclose()

    return steps
