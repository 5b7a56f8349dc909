"""Beside Logfire's instrumentations."""

from contextlib import ExitStack

from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from . import calls
from .calls import EXPORTER

SDKS = ("openai", "anthropic", "google")
PROVIDES_TRACES = True
_here = ExitStack()


def on():
    import logfire

    logfire.configure(
        send_to_logfire=False,
        console=False,
        additional_span_processors=[SimpleSpanProcessor(EXPORTER)],
    )
    _here.enter_context(logfire.instrument_openai())
    _here.enter_context(logfire.instrument_anthropic())
    logfire.instrument_google_genai()


def off():
    from opentelemetry.instrumentation.google_genai import GoogleGenAiSdkInstrumentor

    _here.close()
    GoogleGenAiSdkInstrumentor().uninstrument()


def programs():
    return calls.programs(SDKS)
