"""One request and its answer, where one function of the SDK is around both: google-genai's two stacks."""

from collections.abc import Callable
from typing import Any, Protocol

from ..meter import Call
from .observation import How, Observation, OnAbort, RequestBody, observe, settle_failed, waiting


class Passing(Protocol):
    """What is told how a request ended. Nothing of it raises."""

    def answered(self, response: Any) -> None: ...
    def failed(self, error: BaseException) -> None: ...


class Asked:
    """A request that is billed, and has no answer yet. Who derives from it says what an answer is."""

    __slots__ = ("_body", "_on_abort", "call")

    def __init__(self, call: Call, on_abort: OnAbort, body: RequestBody) -> None:
        self.call = call
        self._on_abort: OnAbort = on_abort
        self._body = body
        waiting.add(self)
        call.activate()

    def over(self) -> None:
        """The answer is there, or will not come."""
        waiting.discard(self)
        self.call.deactivate()

    def observe(self) -> Observation | None:
        """Its answer is, or will be, read along."""
        waiting.discard(self)
        return observe(self.call, self._on_abort, self._body)

    def failed(self, error: BaseException) -> None:
        """It got no answer."""
        self.over()
        settle_failed(self.call, error)

    def finish(self, how: How) -> None:
        """We go, and the answer has not come: the provider may bill what was sent."""
        observation = self.observe()
        if observation is not None:
            observation.finish(how)

    def disown(self) -> None:
        """Settle nothing: the call is another process's."""


def around(
    asked: Passing | None, wrapped: Callable[..., Any], args: Any, kwargs: dict[str, Any]
) -> Any:
    """The passage, sync."""
    if asked is None:
        return wrapped(*args, **kwargs)
    try:
        response = wrapped(*args, **kwargs)
    except BaseException as error:
        asked.failed(error)
        raise
    asked.answered(response)
    return response


async def around_async(
    asked: Passing | None, wrapped: Callable[..., Any], args: Any, kwargs: dict[str, Any]
) -> Any:
    """The passage, async."""
    if asked is None:
        return await wrapped(*args, **kwargs)
    try:
        response = await wrapped(*args, **kwargs)
    except BaseException as error:
        asked.failed(error)
        raise
    asked.answered(response)
    return response
