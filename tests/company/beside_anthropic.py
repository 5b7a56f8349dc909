"""Beside the spans that Anthropic's SDK makes by itself since 1.17."""

from . import calls
from .beside import *  # noqa: F403  (the checks are the same for all)

NAME = "Anthropic's own spans"
NOTES = (
    "They have the usage and the cost; a stream that is left, and a refusal, have no cost, for they "
    "end first.",
)
"""What docs/compatibility.md says of it."""

SDKS = ("anthropic",)


def on():
    """It is on wherever a tracer provider is."""


def off():
    """It can't be taken off."""


def programs():
    return calls.programs(SDKS)
