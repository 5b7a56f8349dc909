"""Beside the spans that Anthropic's SDK makes by itself since 1.17."""

from . import calls
from .beside import *  # noqa: F403  (the checks are the same for all)

NAME = "Anthropic's own spans"
NOTES = (
    "They have the usage and the cost; where a stream is left they end first, and have no cost.",
)
"""What docs/compatibility.md says of it."""

SDKS = ("anthropic",)


def on():
    """It is on wherever a tracer provider is."""


def off():
    """It can't be taken off."""


def programs():
    return calls.programs(SDKS)
