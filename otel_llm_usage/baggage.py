"""Who pays, told to other services in W3C baggage and heard from them: only what the user has listed.

What is told stands in the OpenTelemetry context, and the application's own propagators carry it. Nothing
of it goes to a provider of LLMs.
"""

import logging
from collections.abc import Mapping
from urllib.parse import quote

from opentelemetry import baggage
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context

from .records import NOTHING

logger = logging.getLogger("otel_llm_usage")

PREFIX = "otel_llm_usage."
AGENT = "agent"
"""The name that stands for the agent; every other one is a label's."""

MOST_NAMES = 16
LONGEST = 128
"""Characters of a value."""
MOST_BYTES = 2_048
"""Of all our values as a header has them."""

_shared: tuple[str, ...] = ()
_said: set[str] = set()
"""Names of which a value was left out. It is no fault of ours: a client may say what it likes."""


def share(names: tuple[str, ...]) -> None:
    """Tell and hear these from now on: `agent`, and names of labels. None of them: nothing at all."""
    global _shared
    _shared = names
    _said.clear()


def shared() -> bool:
    """Whether anything is told or heard."""
    return bool(_shared)


def heard(place: Context) -> Mapping[str, str]:
    """What another service has said, by name; what is too long or not printable was not said."""
    if not _shared:
        return NOTHING
    found = {}
    for name in _shared:
        value = baggage.get_baggage(PREFIX + name, place)
        if isinstance(value, str) and _fits(value):
            found[name] = value
    return found


def told(place: Context, said: Mapping[str, str | None]) -> Context:
    """The context from which other services hear this; what is not said stays as it was heard.

    What does not fit is left out, and said once in the log: half a name would be another one.
    """
    size = 0
    for name in _shared:
        value = said.get(name)
        if value is None:
            continue
        size += len(PREFIX) + len(name) + len(quote(value)) + 2
        if not _fits(value) or size > MOST_BYTES:
            _left_out(name)
            place = baggage.remove_baggage(PREFIX + name, place)
        elif baggage.get_baggage(PREFIX + name, place) != value:
            place = baggage.set_baggage(PREFIX + name, value, place)
    return place


def quiet(place: Context) -> Context:
    """The same context without a word of ours."""
    for name in _shared:
        if baggage.get_baggage(PREFIX + name, place) is not None:
            place = baggage.remove_baggage(PREFIX + name, place)
    return place


def received(header: str, place: Context) -> Context:
    """The context of a request with this `baggage` header; of the header only what is listed."""
    there = W3CBaggagePropagator().extract({"baggage": header}, Context())
    return told(place, heard(there))


def _left_out(name: str) -> None:
    if name not in _said:
        _said.add(name)
        logger.warning(
            "otel-llm-usage does not tell this %r to other services: it is not printable, or there is "
            "too much. Of further ones nothing is said.",
            name,
        )


def _fits(value: str) -> bool:
    return 0 < len(value) <= LONGEST and value.isprintable()
