"""Beside OpenTelemetry's older instrumentation of OpenAI."""

from . import calls
from .beside import *  # noqa: F403  (the checks are the same for all)

NAME = "OpenTelemetry, `openai-v2`"
NOTES = ("It imports httpx, which it does not ask for: with openai 3 install it yourself.",)
"""What docs/compatibility.md says of it."""

SDKS = ("openai",)


def on():
    from opentelemetry.instrumentation.openai_v2 import OpenAIInstrumentor

    OpenAIInstrumentor().instrument()


def off():
    from opentelemetry.instrumentation.openai_v2 import OpenAIInstrumentor

    OpenAIInstrumentor().uninstrument()


def programs():
    return calls.programs(SDKS)
