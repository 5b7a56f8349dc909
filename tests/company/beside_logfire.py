"""Beside Logfire's instrumentations."""

from contextlib import ExitStack

from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from . import calls
from .beside import *  # noqa: F403  (the checks are the same for all)
from .calls import EXPORTER

NAME = "Logfire"
NOTES = (
    "Its spans of OpenAI and Anthropic have no cost: it suppresses other instrumentations inside "
    "its own unless it is told `suppress_other_instrumentation=False`.",
    "Its span of an OpenAI chat stream has usage only if the caller asked for usage: what we ask "
    "for is hidden from it, too. Our records and metrics have it.",
)
"""What docs/compatibility.md says of it."""
WITHOUT_USAGE = "openai: chat.* stream|anthropic: messages, raw"
"""Calls whose usage no span tells: its own has none, and it suppresses ours."""

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
