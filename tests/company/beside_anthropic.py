"""Beside the spans that Anthropic's SDK makes by itself since 1.17."""

from . import calls

SDKS = ("anthropic",)


def on():
    """It is on wherever a tracer provider is."""


def off():
    """It can't be taken off."""


def programs():
    return calls.programs(SDKS)
