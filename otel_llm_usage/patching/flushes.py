"""The seam of the OpenTelemetry SDK: whoever flushes a batch of spans gets those of all calls that ended.

A span that goes out with the next batch anyway is ended by a thread of ours, soon after its call; so
flushing waits for that thread. See `Spans._batched` in `telemetry.spans`.
"""

from collections.abc import Callable
from typing import Any

from .. import backlog
from .engine import Seam

SDK = "opentelemetry"


class Flushes:
    """The wrappers for the processor that sends spans in batches."""

    def seams(self) -> list[Seam]:
        """Where the wrappers go."""
        module = "opentelemetry.sdk.trace.export"
        return [
            Seam(SDK, module, f"BatchSpanProcessor.{method}", self.flush)
            for method in ("force_flush", "shutdown")
        ]

    def flush(
        self, wrapped: Callable[..., Any], processor: Any, args: Any, kwargs: dict[str, Any]
    ) -> Any:
        """See the spans of the calls until now ended, and go on."""
        backlog.counting.finish()
        return wrapped(*args, **kwargs)
