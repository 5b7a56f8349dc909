"""Beside OpenInference's instrumentations."""

from . import calls
from .beside import *  # noqa: F403  (the checks are the same for all)

NAME = "OpenInference"
NOTES = ("Where it was there before us, its spans of Gemini's streams have no cost.",)
"""What docs/compatibility.md says of it."""

SDKS = ("openai", "anthropic", "google")


def _all():
    from openinference.instrumentation.anthropic import AnthropicInstrumentor
    from openinference.instrumentation.google_genai import GoogleGenAIInstrumentor
    from openinference.instrumentation.openai import OpenAIInstrumentor

    return OpenAIInstrumentor(), AnthropicInstrumentor(), GoogleGenAIInstrumentor()


on, off = calls.switches(_all)


def programs():
    return calls.programs(SDKS)
