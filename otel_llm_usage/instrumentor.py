"""The door for `opentelemetry-instrument`: an entry point in the group `opentelemetry_instrumentor`."""

from typing import Any

from .runtime import instrument, uninstrument


class LLMUsageInstrumentor:
    """Turns the instrumentation on and off, in the way that OpenTelemetry's loader expects."""

    def instrument(self, **kwargs: Any) -> None:
        """Like `otel_llm_usage.instrument`; what only the loader knows is left aside."""
        kwargs.pop("skip_dep_check", None)
        kwargs.pop("raise_exception_on_conflict", None)
        instrument(**kwargs)

    def uninstrument(self, **_: Any) -> None:
        """Leave every SDK as it was."""
        uninstrument()
