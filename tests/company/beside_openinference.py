"""Beside OpenInference's instrumentations."""

from . import calls

SDKS = ("openai", "anthropic", "google")


def _all():
    from openinference.instrumentation.anthropic import AnthropicInstrumentor
    from openinference.instrumentation.google_genai import GoogleGenAIInstrumentor
    from openinference.instrumentation.openai import OpenAIInstrumentor

    return OpenAIInstrumentor(), AnthropicInstrumentor(), GoogleGenAIInstrumentor()


def on():
    for one in _all():
        one.instrument()


def off():
    for one in _all():
        one.uninstrument()


def programs():
    return calls.programs(SDKS)
