"""Beside OpenTelemetry's own instrumentations of the three SDKs."""

from . import calls

SDKS = ("openai", "anthropic", "google")


def _all():
    from opentelemetry.instrumentation.genai.anthropic import AnthropicInstrumentor
    from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor
    from opentelemetry.instrumentation.google_genai import GoogleGenAiSdkInstrumentor

    return OpenAIInstrumentor(), AnthropicInstrumentor(), GoogleGenAiSdkInstrumentor()


def on():
    for one in _all():
        one.instrument()


def off():
    for one in _all():
        one.uninstrument()


def programs():
    return calls.programs(SDKS)
