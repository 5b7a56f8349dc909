"""Objects of others: what we remember beside them, and what to do about those that fail."""

import sys
import weakref
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from .. import guard
from ..errors import ConfigurationError

V = TypeVar("V")


class Beside(Generic[V]):
    """Remembers something beside an object for as long as the object lives.

    By identity: what compares by value has no hash (Logfire's meter provider).
    """

    def __init__(self) -> None:
        self._kept: dict[int, V] = {}

    def get(self, whose: object) -> V | None:
        """What is remembered beside `whose`."""
        return self._kept.get(id(whose))

    def keep(self, whose: object, what: V) -> None:
        """Remember `what`; beside an object that takes no weak references, nothing is remembered."""
        if id(whose) not in self._kept:
            try:
                end = weakref.finalize(whose, self._kept.pop, id(whose), None)
            except TypeError:
                return  # nobody would tell us when its id becomes another's
            end.atexit = False
        self._kept[id(whose)] = what

    def __iter__(self) -> Iterator[V]:
        return iter(list(self._kept.values()))


def attempt(what: str, work: Callable[[], Any], *, given: bool) -> bool:
    """Have a provider make something for us.

    The one that the user gave as the argument `what` has to work. Any other may fail: that is said
    and counted, and we go on without it.
    """
    error = guard.theirs(work)
    if error is None:
        return True
    if given:
        raise ConfigurationError(
            f"{what}: it fails with {error!r}. Give one that works, or none"
        ) from error
    guard.failed(what, error)
    return False


_INSTRUMENTATIONS = (
    "openinference.instrumentation.anthropic",
    "openinference.instrumentation.google_genai",
    "openinference.instrumentation.openai",
    "openlit.instrumentation.anthropic",
    "openlit.instrumentation.google_ai_studio",
    "openlit.instrumentation.openai",
    "opentelemetry.instrumentation.anthropic",
    "opentelemetry.instrumentation.google_generativeai",
    "opentelemetry.instrumentation.openai",
)
"""Packages that tell the usage of a call of an SDK, some by a span that is never current."""

_DEEPEST = 60
"""Frames between a method of an SDK and the request that it makes: two dozen have been seen."""


def instrumented() -> bool:
    """Whether one of those packages stands around the call that begins now, and so tells its usage.

    Its wrapper, or the stream that it has put around the SDK's, is on the stack.
    """
    names = [name for name in _INSTRUMENTATIONS if name in sys.modules]
    if not names:
        return False
    frame = sys._getframe(1)
    for _ in range(_DEEPEST):
        module = frame.f_globals.get("__name__", "")
        if any(module == name or module.startswith(f"{name}.") for name in names):
            return True
        if frame.f_back is None:
            return False
        frame = frame.f_back
    return False
