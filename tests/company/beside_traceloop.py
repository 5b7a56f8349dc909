"""Beside OpenLLMetry's (Traceloop's) instrumentations."""

from . import calls
from .beside import *  # noqa: F403  (the checks are the same for all)

NAME = "OpenLLMetry"
NOTES = (
    "Its spans of Gemini and of OpenAI's Responses API are never current: they get no cost, and "
    "`auto` opens none beside them.",
    "After its `uninstrument()`, spans of streamed responses go on.",
)
"""What docs/compatibility.md says of it."""
STAYS = True
"""Its `uninstrument()` does not end its spans."""

SDKS = ("openai", "anthropic", "google")


def _all():
    from opentelemetry.instrumentation.anthropic import AnthropicInstrumentor
    from opentelemetry.instrumentation.google_generativeai import GoogleGenerativeAiInstrumentor
    from opentelemetry.instrumentation.openai import OpenAIInstrumentor

    return OpenAIInstrumentor(), AnthropicInstrumentor(), GoogleGenerativeAiInstrumentor()


on, off = calls.switches(_all)


def programs():
    return calls.programs(SDKS)
