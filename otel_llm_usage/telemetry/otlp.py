"""Where spans and OTLP metrics go: the user's providers, or exporters that `OTEL_*` asks for.

What we set up is ours alone: it is never made the global provider, so an application that sets its
own later is not in our way, nor we in its.
"""

import logging
import os
import uuid
from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import urlsplit

from opentelemetry import metrics, trace

from ..errors import ConfigurationError

logger = logging.getLogger("otel_llm_usage")

Signal = Literal["traces", "metrics"]

_FLUSH_MILLIS = 5_000
_HTTP_PORT = 4318
"""The port of OTLP over HTTP."""


class Telemetry:
    """Where spans and OTLP metrics go, and how to stop what we started for it."""

    def __init__(
        self,
        tracer_provider: Any,
        meter_provider: Any,
        started: tuple[Any, ...],
        description: str,
        given: frozenset[Signal] = frozenset(),
    ) -> None:
        self.tracer_provider = tracer_provider
        self.meter_provider = meter_provider
        self.description = description
        """In words, for `status`."""
        self.given = given
        """The signals whose provider is the user's argument."""
        self._started = started

    def force_flush(self) -> None:
        """Push what has not been pushed, wherever that is possible."""
        for provider in (self.tracer_provider, self.meter_provider):
            flush = getattr(provider, "force_flush", None)
            if flush is not None:
                flush(_FLUSH_MILLIS)

    def shutdown(self) -> None:
        """Stop what we started, after a last push; the user's providers live on."""
        for provider in self._started:
            provider.shutdown()
        self._started = ()


def set_up(
    environment: Mapping[str, str],
    *,
    tracer_provider: Any = None,
    meter_provider: Any = None,
) -> Telemetry:
    """The providers of this process.

    For each signal, the first of: the one given; the global one, if the application set it;
    exporters, if `environment` (the standard `OTEL_*` variables) asks for them; the global one
    all the same, so that it serves when the application sets it later.
    """
    for what, given, needed in (
        ("tracer_provider", tracer_provider, "get_tracer"),
        ("meter_provider", meter_provider, "get_meter"),
    ):
        if given is not None and not callable(getattr(given, needed, None)):
            raise ConfigurationError(f"{what}={given!r} is no {what} of OpenTelemetry")
    signals: tuple[tuple[Signal, Any, Any], ...] = (
        ("traces", tracer_provider, trace.get_tracer_provider()),
        ("metrics", meter_provider, metrics.get_meter_provider()),
    )
    started = []
    descriptions = []
    chosen: list[Any] = []
    for signal, given, current in signals:
        provider, description = given, "given"
        if provider is None and not _is_proxy(current):
            provider, description = current, "global"
        if provider is None:
            exporters = _wanted(environment, signal)
            if exporters:
                provider, description = _BUILD[signal](environment, exporters), ", ".join(exporters)
                started.append(provider)
        chosen.append(provider or current)
        descriptions.append(f"{signal}: {description if provider is not None else 'none'}")
    given_signals = frozenset(signal for signal, given, _ in signals if given is not None)
    return Telemetry(chosen[0], chosen[1], tuple(started), "; ".join(descriptions), given_signals)


def _is_proxy(provider: Any) -> bool:
    """Whether this only stands in for a provider that nobody has set yet."""
    return type(provider).__name__ in ("ProxyTracerProvider", "_ProxyMeterProvider")


def _wanted(environment: Mapping[str, str], signal: Signal) -> list[str]:
    """Which exporters the environment asks for; an endpoint alone asks for OTLP."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return []
    variable = f"OTEL_{signal.upper()}_EXPORTER"
    named = environment.get(variable)
    if named is None:
        return ["otlp"] if _endpoint(environment, signal) else []
    wanted = []
    for word in (word.strip() for word in named.split(",")):
        if word in ("otlp", "console", "otlp_proto_grpc", "otlp_proto_http"):
            wanted.append(word)
        elif word not in ("", "none", "prometheus"):  # /metrics is served anyway
            logger.warning("%s=%r: there is no such exporter here; it is left out", variable, word)
    return wanted


def _endpoint(environment: Mapping[str, str], signal: Signal) -> str | None:
    return environment.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT") or environment.get(
        "OTEL_EXPORTER_OTLP_ENDPOINT"
    )


def _speaks_http(environment: Mapping[str, str], signal: Signal, exporter: str) -> bool:
    if exporter != "otlp":
        return exporter == "otlp_proto_http"
    protocol = environment.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL") or environment.get(
        "OTEL_EXPORTER_OTLP_PROTOCOL"
    )
    if protocol is None:
        # Python's default is gRPC; an endpoint on the port of HTTP, or with a path, says otherwise
        parts = urlsplit(_endpoint(environment, signal) or "")
        return parts.port == _HTTP_PORT or parts.path not in ("", "/")
    if protocol not in ("grpc", "http/protobuf"):
        logger.warning("OTLP over %r is not supported here: http/protobuf is used", protocol)
    return protocol != "grpc"


# The SDK and its exporters take 0.1 to 0.4 s to import: only those pay who ask for an exporter.


def _tracer_provider(environment: Mapping[str, str], exporters: list[str]) -> Any:
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
    for exporter in exporters:
        provider.add_span_processor(BatchSpanProcessor(_span_exporter(environment, exporter)))
    return provider


def _span_exporter(environment: Mapping[str, str], exporter: str) -> Any:
    if exporter == "console":
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter  # noqa: PLC0415

        return ConsoleSpanExporter()
    if _speaks_http(environment, "traces", exporter):
        from opentelemetry.exporter.otlp.proto.http import trace_exporter as http  # noqa: PLC0415

        return http.OTLPSpanExporter()
    from opentelemetry.exporter.otlp.proto.grpc import trace_exporter as grpc  # noqa: PLC0415

    return grpc.OTLPSpanExporter()


def _meter_provider(environment: Mapping[str, str], exporters: list[str]) -> Any:
    from opentelemetry.sdk.metrics import MeterProvider  # noqa: PLC0415
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader  # noqa: PLC0415

    readers = [
        PeriodicExportingMetricReader(_metric_exporter(environment, exporter))
        for exporter in exporters
    ]
    return MeterProvider(metric_readers=readers, resource=_resource(), shutdown_on_exit=False)


def _metric_exporter(environment: Mapping[str, str], exporter: str) -> Any:
    if exporter == "console":
        from opentelemetry.sdk.metrics.export import ConsoleMetricExporter  # noqa: PLC0415

        return ConsoleMetricExporter()
    if _speaks_http(environment, "metrics", exporter):
        from opentelemetry.exporter.otlp.proto.http import (  # noqa: PLC0415
            metric_exporter as http,
        )

        return http.OTLPMetricExporter()
    from opentelemetry.exporter.otlp.proto.grpc import metric_exporter as grpc  # noqa: PLC0415

    return grpc.OTLPMetricExporter()


_BUILD = {"traces": _tracer_provider, "metrics": _meter_provider}


def _resource() -> Any:
    """Who we are, as `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` say.

    Each process has a `service.instance.id` of its own, also after a fork: two that push the same
    series under one name would overwrite each other. Newer SDKs see to that themselves.
    """
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415

    class ProcessResource(Resource):
        @property
        def attributes(self) -> Any:
            return {"service.instance.id": _instance_id(), **super().attributes}

    resource = Resource.create()
    return ProcessResource(dict(resource.attributes), resource.schema_url)


_instance: tuple[int, str] = (0, "")


def _instance_id() -> str:
    global _instance
    if _instance[0] != os.getpid():
        _instance = (os.getpid(), str(uuid.uuid4()))
    return _instance[1]
