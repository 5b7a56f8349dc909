"""Beside OpenTelemetry's own instrumentations of the three SDKs."""

from . import calls
from .beside import *  # noqa: F403  (the checks are the same for all)

NAME = "OpenTelemetry"
NOTES = (
    "Its instrumentation of Gemini refuses google-genai 3 by itself, and says so in the log.",
    "Its spans of streamed responses end before the answer does: they have no cost.",
)
"""What docs/compatibility.md says of it."""

SDKS = ("openai", "anthropic", "google")


def _all():
    from opentelemetry.instrumentation.genai.anthropic import AnthropicInstrumentor
    from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor
    from opentelemetry.instrumentation.google_genai import GoogleGenAiSdkInstrumentor

    return OpenAIInstrumentor(), AnthropicInstrumentor(), GoogleGenAiSdkInstrumentor()


on, off = calls.switches(_all)


def programs():
    return calls.programs(SDKS)
