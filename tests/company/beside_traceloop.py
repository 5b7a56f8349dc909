"""Beside OpenLLMetry's (Traceloop's) instrumentations."""

from . import calls

SDKS = ("openai", "anthropic", "google")


def _all():
    from opentelemetry.instrumentation.anthropic import AnthropicInstrumentor
    from opentelemetry.instrumentation.google_generativeai import GoogleGenerativeAiInstrumentor
    from opentelemetry.instrumentation.openai import OpenAIInstrumentor

    return OpenAIInstrumentor(), AnthropicInstrumentor(), GoogleGenerativeAiInstrumentor()


def on():
    for one in _all():
        one.instrument()


def off():
    for one in _all():
        one.uninstrument()


def programs():
    return calls.programs(SDKS)
