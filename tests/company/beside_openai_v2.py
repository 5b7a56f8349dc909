"""Beside OpenTelemetry's older instrumentation of OpenAI."""

from . import calls

SDKS = ("openai",)


def on():
    from opentelemetry.instrumentation.openai_v2 import OpenAIInstrumentor

    OpenAIInstrumentor().instrument()


def off():
    from opentelemetry.instrumentation.openai_v2 import OpenAIInstrumentor

    OpenAIInstrumentor().uninstrument()


def programs():
    return calls.programs(SDKS)
