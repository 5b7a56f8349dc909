"""The one place where our own failures stop.

Nothing of ours may reach the host application, and nothing may be silent: what is stopped here is
counted (`llm_instrumentation_errors_total{where}`) and logged once for each place and type of error.
"""

import logging
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

from . import forks

P = ParamSpec("P")
R = TypeVar("R")

logger = logging.getLogger("otel_llm_usage")

errors: Counter[str] = Counter()
"""How often something of ours failed, by place. Read by the metrics."""

_logged: set[tuple[str, str]] = set()
_lock = threading.RLock()
_listeners: list[Callable[[str], None]] = []

strict = False
"""Tests set this: then what production would swallow is raised."""


def failed(where: str, error: BaseException) -> None:
    """Count a failure of ours, and log it the first time that it happens at this place."""
    count(where)
    with _lock:
        first = (where, type(error).__name__) not in _logged
        _logged.add((where, type(error).__name__))
    if first:
        _safely(
            logger.error,
            "otel-llm-usage failed in %s; your call is not affected. Further ones are only counted "
            "(llm_instrumentation_errors_total).",
            where,
            exc_info=error,
        )


def count(where: str) -> None:
    """Count a failure that was logged where it happened."""
    with _lock:
        errors[where] += 1
    for listener in tuple(_listeners):
        _safely(listener, where)


def _safely(tell: Callable[..., object], *said: object, **more: object) -> None:
    """Tell others of a failure: if that fails too, all that is left is to count it."""
    try:
        tell(*said, **more)
    except Exception:
        with _lock:
            errors["guard"] += 1


@contextmanager
def guarded(where: str) -> Iterator[None]:
    """Stop any exception of the block here."""
    try:
        yield
    except Exception as error:
        if strict:
            raise
        failed(where, error)


def call(where: str, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R | None:
    """Call `function`; `None` if it fails. Cheaper than `guarded` on the hot path."""
    try:
        return function(*args, **kwargs)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a sink may raise what only looks like a cancelled task
        if strict:
            raise
        failed(where, error)
        return None


def alone(where: str, function: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
    """Call `function` on behalf of nobody, in a thread of ours: nothing at all comes out of it."""
    try:
        function(*args, **kwargs)
    except BaseException as error:  # a sink that exits would take the thread along
        failed(where, error)


def theirs(function: Callable[[], Any]) -> Exception | None:
    """Call code of others on nobody's behalf; what it raises is theirs, and for the caller to judge."""
    try:
        function()
    except Exception as error:
        return error
    return None


async def theirs_async(work: Awaitable[Any]) -> Exception | None:
    """The same for what is awaited."""
    try:
        await work
    except Exception as error:
        return error
    return None


def listen(listener: Callable[[str], None]) -> Callable[[], None]:
    """Tell `listener` the place of every failure; the result stops that again."""
    _listeners.append(listener)
    return lambda: _listeners.remove(listener)


def reset() -> None:
    """Forget what was counted and logged."""
    with _lock:
        errors.clear()
        _logged.clear()


@forks.in_child
def _renew_lock() -> None:
    global _lock
    _lock = threading.RLock()
