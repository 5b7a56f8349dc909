"""Recording by hand what was used: for clients and providers that nobody instruments."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

from . import guard, providers, runtime, scope, tracking
from .errors import ConfigurationError
from .meter import Meter, Outcome
from .records import Reading, Record, Request

Extractor = Callable[[Any], Any]
"""Takes a response; gives a response or usage in the shape of a known provider, or `None`: not its own."""

_extractors: list[Extractor] = []


def register_extractor(extractor: Extractor) -> Callable[[], None]:
    """Teach `record_usage` another kind of response; the result undoes that.

    The one that was registered last is asked first. What it gives is read as a response itself:
    `{"provider": "openai", "model": "m", "usage": {"prompt_tokens": 7, "completion_tokens": 3}}`.
    """
    if not callable(extractor):
        raise TypeError(f"an extractor is a function of a response: got {extractor!r}")
    _extractors.insert(0, extractor)

    def undo() -> None:
        if extractor in _extractors:
            _extractors.remove(extractor)

    return undo


def record_usage(
    response: Any = None,
    *,
    provider: str | None = None,
    model: str | None = None,
    agent: str | None = None,
    call_type: str | None = None,
    user: object = None,
    session: object = None,
    endpoint: str | None = None,
    service_tier: str | None = None,
    duration_ms: float | None = None,
    success: bool = True,
    error_message: str | None = None,
    **labels: object,
) -> Record:
    """Count a call that nobody saw: on the metrics, in the scopes around, in every sink.

    `response` is an answer, or the usage in it, as a typed object, a dict or JSON: Gemini's
    (`usageMetadata`, `usage_metadata`, or its fields), OpenAI's chat and responses, Anthropic's; the
    others by `register_extractor`. `provider`, `model`, `endpoint` and `service_tier` say what the
    response does not. Who pays is said as in `attribute`, and by the blocks around. A `duration_ms`
    that no call can take, below zero or without end, is not known.

    `success=False` is a call that failed: without a response it was not billed. `error_message` is
    kept in the record as it is: leave out what must not be kept.

    Never raises because of a response: what cannot be read is recorded as unknown usage, and
    `Record.cost.reasons` says why.
    """
    words = provider, model, endpoint, service_tier, error_message
    # records hold text: what is none would fail whoever shows them
    provider, model, endpoint, service_tier, error_message = (
        None if word is None else str(word) for word in words
    )
    now, seconds = time.time(), None if duration_ms is None else float(duration_ms) / 1000
    if seconds is not None and not 0 <= seconds <= now:  # NaN, too
        seconds = None
    with scope.attribute(agent=agent, call_type=call_type, user=user, session=session, **labels):
        request, outcome = guard.call(
            "manual", _read, response, provider, model, endpoint, service_tier, success
        ) or (
            _unknown(provider, model),
            Outcome("ok", source="bad", reason="instrumentation_error"),
        )
        return _meter().record(
            request,
            outcome._replace(error_message=error_message),
            duration=seconds,
            at=now - (seconds or 0.0),
        )


def _read(
    response: Any,
    provider: str | None,
    model: str | None,
    endpoint: str | None,
    service_tier: str | None,
    success: bool,
) -> tuple[Request, Outcome]:
    """What is known of the call, and how it ended."""
    status: Literal["ok", "error"] = "ok" if success else "error"
    error_type = None if success else "_OTHER"
    if response is None and not success:
        asked = _unknown(provider, model)
        return asked, Outcome("error", billed=False, error_type=error_type, reason="no_response")
    told = providers.plain(_extracted(response))
    seller = provider or providers.provider_of(told, response)
    try:
        request, readings = providers.readings(
            provider=seller or "unknown",
            endpoint=endpoint,
            model=model,
            service_tier=service_tier,
            usage=told or response,
        )
    except ConfigurationError as error:
        guard.failed("manual", error)
        request, readings = _unknown(seller, model), ()
    known = [one for one in readings if one.usage is not None or one.units]
    if any(one.bad for one in readings):
        return request, Outcome(status, readings, "bad", error_type=error_type, reason="bad_usage")
    if not known:
        readings = readings or (Reading(model=model),)
        reason = "no_usage" if told else "unreadable"
        return request, Outcome(status, readings, error_type=error_type, reason=reason)
    return request, Outcome(status, readings, "reported", error_type=error_type)


def _extracted(response: Any) -> Any:
    for extractor in tuple(_extractors):
        found = guard.call("extractor", extractor, response)
        if found is not None:
            return found
    return response


def _unknown(provider: str | None, model: str | None) -> Request:
    name = provider or "unknown"
    return Request(name, name, name, "chat", "chat.completions", model)


_alone: Meter | None = None


def _meter() -> Meter:
    """The runtime's, or one that counts in scopes alone where nothing is instrumented."""
    global _alone
    current = runtime.current()
    if current is not None:
        return current.meter
    if _alone is None:
        _alone = Meter(
            price=runtime.price_now,
            sinks=[("usage", tracking.process.add)],
            attribute=partial(scope.attribution, "unknown"),
        )
    return _alone
