"""What each provider asks and answers, as data and pure functions: no SDK, no network, no clock."""

from .answers import reader
from .estimates import estimate
from .raw import readings
from .reading import Reader
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

__all__ = [
    "Filter",
    "Policy",
    "Reader",
    "describe",
    "estimate",
    "hide_injected_usage",
    "known_dialect",
    "reader",
    "readings",
    "stream_usage_policy",
    "takes_the_question",
    "usage_filter",
]
