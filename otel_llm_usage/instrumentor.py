"""The door for `opentelemetry-instrument`: an entry point in the group `opentelemetry_instrumentor`."""

import inspect
from typing import Any

from .runtime import instrument, uninstrument


class LLMUsageInstrumentor:
    """Turns the instrumentation on and off, in the way that OpenTelemetry's loader expects."""

    def instrument(self, **kwargs: Any) -> None:
        """Like `otel_llm_usage.instrument`; what only the loader knows is left aside."""
        ours = inspect.signature(instrument).parameters
        instrument(**{name: value for name, value in kwargs.items() if name in ours})

    def uninstrument(self, **_: Any) -> None:
        """Leave every SDK as it was."""
        uninstrument()
