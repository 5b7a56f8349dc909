"""What each provider asks and answers, as data and pure functions: no SDK, no network, no clock."""

from .answers import reader
from .estimates import estimate
from .gemini import model_name
from .raw import plain, provider_of, readings
from .reading import Reader
from .realtime import COUNTED_BEFORE, SESSION_MODEL, connected, line
from .requests import describe
from .streams import (
    Filter,
    Policy,
    hide_injected_usage,
    known_dialect,
    stream_usage_policy,
    takes_the_question,
    usage_filter,
)
from .texts import length

__all__ = [
    "COUNTED_BEFORE",
    "SESSION_MODEL",
    "Filter",
    "Policy",
    "Reader",
    "connected",
    "describe",
    "estimate",
    "hide_injected_usage",
    "known_dialect",
    "length",
    "line",
    "model_name",
    "plain",
    "provider_of",
    "reader",
    "readings",
    "stream_usage_policy",
    "takes_the_question",
    "usage_filter",
]
