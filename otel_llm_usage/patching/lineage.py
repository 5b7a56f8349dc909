"""The seam of the OpenTelemetry SDK's tracers: a span remembers for which agent it was begun.

A span does not know the ones around it. Agent frameworks name the agent on one span, and open others
inside it, for a step, a tool or a request; the calls are made in those.
"""

from collections.abc import Callable, Mapping
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context

from .. import guard, scope
from .engine import Seam
from .flushes import SDK


class Lineage:
    """The wrapper for the beginning of a span."""

    def seams(self) -> list[Seam]:
        """Where the wrapper goes."""
        return [Seam(SDK, "opentelemetry.sdk.trace", "Tracer.start_span", self.start_span)]

    def start_span(
        self, wrapped: Callable[..., Any], tracer: Any, args: Any, kwargs: dict[str, Any]
    ) -> Any:
        """A span begins, in the context that is given, or in the current one."""
        span = wrapped(*args, **kwargs)
        guard.call("spans.start", _begun, span, *args[1:], **kwargs)
        return span


def _begun(
    span: trace.Span,
    context: Context | None = None,
    kind: object = None,
    attributes: Mapping[str, Any] | None = None,
    *_: object,
    **__: object,
) -> None:
    scope.begun(span, trace.get_current_span(context), attributes)
