"""The same numbers over OTLP: to real receivers, over gRPC and over HTTP."""

import json
import logging
import os
import threading
from collections.abc import Iterator
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
import pytest
from opentelemetry import metrics as metrics_api
from opentelemetry import trace as trace_api
from opentelemetry.proto.collector.metrics.v1 import (
    metrics_service_pb2,
    metrics_service_pb2_grpc,
)
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

from otel_llm_usage.records import Cost
from otel_llm_usage.telemetry import otlp
from otel_llm_usage.telemetry.spans import Spans


class Receiver:
    """What arrived."""

    def __init__(self) -> None:
        self.metrics: list[metrics_service_pb2.ExportMetricsServiceRequest] = []
        self.traces: list[trace_service_pb2.ExportTraceServiceRequest] = []
        self.environment: dict[str, str] = {}

    @property
    def spans(self):
        return [
            span
            for request in self.traces
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def latest(self) -> dict[str, dict[frozenset, float | int | object]]:
        """The last points of each metric, by name and attributes."""
        found: dict = {}
        for request in self.metrics:
            for resource in request.resource_metrics:
                for scope in resource.scope_metrics:
                    for metric in scope.metrics:
                        found[metric.name] = points_of(metric)
        return found

    def resources(self) -> list[dict[str, str]]:
        return [
            {item.key: item.value.string_value for item in resource.resource.attributes}
            for request in self.metrics
            for resource in request.resource_metrics
        ]


def points_of(metric) -> dict[frozenset, object]:
    data = getattr(metric, metric.WhichOneof("data"))
    points = {}
    for point in data.data_points:
        key = frozenset((item.key, item.value.string_value) for item in point.attributes)
        if metric.WhichOneof("data") == "histogram":
            points[key] = (point.count, point.sum, tuple(point.explicit_bounds))
        else:
            points[key] = getattr(point, point.WhichOneof("value"))
    return points


def serve_grpc(receiver: Receiver) -> Iterator[None]:
    class Metrics(metrics_service_pb2_grpc.MetricsServiceServicer):
        def Export(self, request, context):  # noqa: N802
            receiver.metrics.append(request)
            return metrics_service_pb2.ExportMetricsServiceResponse()

    class Traces(trace_service_pb2_grpc.TraceServiceServicer):
        def Export(self, request, context):  # noqa: N802
            receiver.traces.append(request)
            return trace_service_pb2.ExportTraceServiceResponse()

    with futures.ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool)
        metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(Metrics(), server)
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Traces(), server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        receiver.environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
        }
        yield
        server.stop(None).wait()


def serve_http(receiver: Receiver) -> Iterator[None]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.path == "/v1/metrics":
                receiver.metrics.append(
                    metrics_service_pb2.ExportMetricsServiceRequest.FromString(body)
                )
            elif self.path == "/v1/traces":
                receiver.traces.append(trace_service_pb2.ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    receiver.environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
    }
    yield
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(params=[serve_grpc, serve_http], ids=["grpc", "http"])
def receiver(request, monkeypatch) -> Iterator[Receiver]:
    receiver = Receiver()
    for _ in (serving := request.param(receiver)):
        receiver.environment |= {
            "OTEL_SERVICE_NAME": "shop",
            "OTEL_METRIC_EXPORT_INTERVAL": "600000",
        }
        for name, value in receiver.environment.items():
            monkeypatch.setenv(name, value)
        yield receiver
    serving.close()


@pytest.fixture
def settled(record, cost_of):
    """A little of everything that is counted."""
    partial = Cost(
        "partial", priced_lines=cost_of(input=1_000_001).priced_lines, reasons=("no_rate:output",)
    )
    refused = Cost("not_billed", pico=0)
    return [
        record(labels={"team": "search"}, time_to_first_chunk=0.2),
        record(response_model="gpt-5-2025-08-07", agent="writer"),
        record(cost=partial, usage_source="estimated", status="aborted"),
        record(usage=None, usage_source="missing", cost=Cost("unpriced", reasons=("no_usage",))),
        record(status="error", usage=None, usage_source="missing", cost=refused, error_type="429"),
    ]


def test_a_receiver_gets_what_a_scrape_sees(receiver, metrics, settled, scrape):
    telemetry = otlp.set_up(receiver.environment)
    counted = metrics(
        labels=("team",),
        meter_provider=telemetry.meter_provider,
        catalogue_age=lambda: {"packaged": 5.0},
        version="1.2.3",
    )
    counted.seam("openai", "chat", "patched")
    for one in settled:
        counted(one)
    seen = scrape(counted)
    telemetry.shutdown()
    arrived = receiver.latest()
    for family in counted.families:
        if family.kind == "counter":
            points = arrived.pop(family.otel, {})
            assert len(points) == len(family.series), family.otel
            for labels, value in points.items():
                expected = seen(f"{family.name}_total", **dict(labels))
                if len(labels) == len(family.labels) or "team" not in family.labels:
                    assert value == expected, (family.otel, labels)
            assert sum(points.values()) == pytest.approx(seen(f"{family.name}_total") or 0)
    count, total, bounds = arrived["llm.request_duration"][
        frozenset({"provider": "openai", "model": "gpt-5", "operation": "chat"}.items())
    ]
    assert (count, total) == (4, 6.0)
    assert bounds == counted.duration.bounds
    assert sum(point[0] for point in arrived["llm.time_to_first_token"].values()) == 1
    assert list(arrived["llm.price_catalogue_age"].values()) == [5.0]
    assert list(arrived["llm.seam_patched"].values()) == [1.0]
    assert list(arrived["llm.build_info"].values()) == [1.0]
    (resource,) = receiver.resources()
    assert resource["service.name"] == "shop"
    assert resource["service.instance.id"]


def test_a_receiver_gets_the_spans(receiver, record):
    telemetry = otlp.set_up(receiver.environment)
    spans = Spans(telemetry.tracer_provider)
    handle = spans.start(record().request, "planner", {})
    spans.finish(handle, [record()])
    telemetry.force_flush()
    (span,) = receiver.spans
    assert span.name == "chat gpt-5"
    assert span.trace_id.hex() == handle.trace_id
    telemetry.shutdown()


def test_the_metrics_of_the_conventions_arrive_with_the_advised_buckets(receiver, metrics, record):
    telemetry = otlp.set_up(receiver.environment)
    counted = metrics(gen_ai=True, meter_provider=telemetry.meter_provider)
    counted(record())
    telemetry.shutdown()
    arrived = receiver.latest()
    usage = {
        dict(labels)["gen_ai.token.type"]: point
        for labels, point in arrived["gen_ai.client.token.usage"].items()
    }
    assert usage["input"][:2] == (1, 120)
    assert usage["output"][:2] == (1, 35)
    assert usage["input"][2][:3] == (1, 4, 16)
    assert usage["input"][2][-1] == 67108864
    ((labels, duration),) = arrived["gen_ai.client.operation.duration"].items()
    assert ("gen_ai.request.model", "gpt-5") in labels
    assert duration[2][0] == 0.01
    assert duration[2][-1] == 81.92


def test_names_and_units_translate_to_the_names_on_the_scrape(metrics):
    counted = metrics(gen_ai=True)
    for family in counted.families:
        translated = family.otel.replace(".", "_") + ("_seconds" if family.unit == "s" else "")
        assert translated == family.name
        assert family.unit == "s" or family.unit.startswith("{")


@pytest.fixture
def reader() -> Iterator[tuple[MeterProvider, InMemoryMetricReader]]:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    yield provider, reader
    provider.shutdown()


def values(reader: InMemoryMetricReader, name: str) -> list[float]:
    data = reader.get_metrics_data()
    return [
        getattr(point, "value", None) if hasattr(point, "value") else point.count
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == name
        for point in metric.data.data_points
    ]


def test_a_second_runtime_uses_the_instruments_of_the_first(reader, metrics, record, caplog):
    provider, read = reader
    first = metrics(meter_provider=provider)
    first(record())
    assert sum(values(read, "llm.requests")) == 1
    second = metrics(meter_provider=provider)
    for _ in range(5):
        second(record())
    assert sum(values(read, "llm.requests")) == 5
    assert not caplog.records


def test_the_last_totals_stay_for_the_export_after_closing(reader, record):
    from prometheus_client import CollectorRegistry

    from otel_llm_usage.telemetry.metrics import Metrics

    provider, read = reader
    counted = Metrics(registry=CollectorRegistry(), meter_provider=provider)
    counted(record())
    counted.close()
    assert sum(values(read, "llm.requests")) == 1
    assert sum(values(read, "llm.request_duration")) == 1


def test_observations_that_nobody_collects_do_not_pile_up(reader, metrics, record):
    provider, read = reader
    counted = metrics(meter_provider=provider)
    for _ in range(5000):
        counted(record())
    assert len(counted._export._queue) < 4096
    assert sum(values(read, "llm.request_duration")) == 5000


def test_providers_that_are_given_are_used_and_live_on():
    tracer_provider, meter_provider = TracerProvider(), MeterProvider()
    telemetry = otlp.set_up(
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"},
        tracer_provider=tracer_provider,
        meter_provider=meter_provider,
    )
    assert telemetry.tracer_provider is tracer_provider
    assert telemetry.meter_provider is meter_provider
    assert telemetry.description == "traces: given; metrics: given"
    telemetry.shutdown()
    assert meter_provider.force_flush()
    tracer_provider.shutdown()
    meter_provider.shutdown()


def test_the_providers_of_the_application_are_used(python):
    seen = python(
        """
import json
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from otel_llm_usage.telemetry import otlp
trace.set_tracer_provider(TracerProvider())
metrics.set_meter_provider(MeterProvider())
telemetry = otlp.set_up({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"})
assert telemetry.tracer_provider is trace.get_tracer_provider()
assert telemetry.meter_provider is metrics.get_meter_provider()
print(json.dumps(telemetry.description))
"""
    )
    assert json.loads(seen) == "traces: global; metrics: global"


def test_an_application_may_set_its_providers_after_us(python):
    seen = python(
        """
import json
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import CollectorRegistry
from otel_llm_usage.records import Cost, Record, Request, Usage
from otel_llm_usage.telemetry import otlp
from otel_llm_usage.telemetry.metrics import Metrics
from otel_llm_usage.telemetry.spans import Spans
telemetry = otlp.set_up({})
counted = Metrics(registry=CollectorRegistry(), meter_provider=telemetry.meter_provider)
spans = Spans(telemetry.tracer_provider)
request = Request("openai", "openai", "openai-api", "chat", "chat.completions", "gpt-5")
record = Record("0" * 32, 1.8e9, request, "ok", Usage(input=3), "reported", Cost("free", 0))
counted(record)
reader = InMemoryMetricReader()
trace.set_tracer_provider(TracerProvider())
metrics.set_meter_provider(MeterProvider([reader]))
data = json.loads(reader.get_metrics_data().to_json())
names = {
    metric["name"]: metric["data"]["data_points"]
    for scope in data["resource_metrics"][0]["scope_metrics"]
    for metric in scope["metrics"]
}
assert spans.start(request, "planner", {}).trace_id is not None
print(json.dumps(sum(point["value"] for point in names["llm.tokens"])))
"""
    )
    assert json.loads(seen) == 3


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_SERVICE_NAME": "shop"},
        {"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none,prometheus"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"},
        {
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1",
            "OTEL_TRACES_EXPORTER": "none",
            "OTEL_METRICS_EXPORTER": "none",
        },
    ],
)
def test_nothing_is_set_up_that_was_not_asked_for(environment):
    telemetry = otlp.set_up(environment)
    assert telemetry.tracer_provider is trace_api.get_tracer_provider()
    assert telemetry.meter_provider is metrics_api.get_meter_provider()
    assert telemetry.description == "traces: none; metrics: none"
    telemetry.force_flush()
    telemetry.shutdown()


def test_a_signal_may_have_an_endpoint_of_its_own():
    telemetry = otlp.set_up({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1/v1/traces"})
    assert telemetry.description == "traces: otlp; metrics: none"
    telemetry.shutdown()


def test_an_exporter_that_does_not_exist_is_named_and_left_out(caplog):
    with caplog.at_level(logging.WARNING, "otel_llm_usage"):
        telemetry = otlp.set_up({"OTEL_TRACES_EXPORTER": "zipkin"})
    assert telemetry.description == "traces: none; metrics: none"
    assert "zipkin" in caplog.text


@pytest.mark.parametrize(
    ("endpoint", "protocol", "http"),
    [
        ("http://collector:4317", None, False),
        ("http://collector:4318", None, True),
        ("https://otlp.example.com/otlp", None, True),
        ("http://collector:4318", "grpc", False),
        ("http://collector:4317", "http/protobuf", True),
    ],
)
def test_the_protocol_is_the_one_named_or_the_one_of_the_endpoint(endpoint, protocol, http):
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
    if protocol:
        environment["OTEL_EXPORTER_OTLP_PROTOCOL"] = protocol
    assert otlp._speaks_http(environment, "traces", "otlp") is http


def test_the_console_is_an_exporter(python):
    seen = python(
        """
from prometheus_client import CollectorRegistry
from otel_llm_usage.records import Cost, Record, Request, Usage
from otel_llm_usage.telemetry import otlp
from otel_llm_usage.telemetry.metrics import Metrics
from otel_llm_usage.telemetry.spans import Spans
telemetry = otlp.set_up({"OTEL_TRACES_EXPORTER": "console", "OTEL_METRICS_EXPORTER": "console"})
counted = Metrics(registry=CollectorRegistry(), meter_provider=telemetry.meter_provider)
spans = Spans(telemetry.tracer_provider)
request = Request("openai", "openai", "openai-api", "chat", "chat.completions", "gpt-5")
record = Record("0" * 32, 1.8e9, request, "ok", Usage(input=3), "reported", Cost("free", 0))
spans.finish(spans.start(request, "planner", {}), [record])
counted(record)
telemetry.shutdown()
"""
    )
    assert '"name": "chat gpt-5"' in seen
    assert '"llm.tokens"' in seen


def test_a_forked_process_pushes_its_own_numbers_under_its_own_name(python):
    receiver = Receiver()
    script = """
import os
from prometheus_client import CollectorRegistry
from otel_llm_usage.records import Cost, Record, Request, Usage
from otel_llm_usage.telemetry import otlp
from otel_llm_usage.telemetry.metrics import Metrics
environment = {name: value for name, value in os.environ.items() if name.startswith("OTEL_")}
telemetry = otlp.set_up(environment)
counted = Metrics(registry=CollectorRegistry(), meter_provider=telemetry.meter_provider)
request = Request("openai", "openai", "openai-api", "chat", "chat.completions", "gpt-5")
record = Record(
    "0" * 32, 1.8e9, request, "ok", Usage(input=3), "reported", Cost("free", 0), duration=1.0
)
for _ in range(10):
    counted(record)
pid = os.fork()
if pid == 0:
    counted(record)
    telemetry.shutdown()
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
telemetry.shutdown()
"""
    for _ in serve_http(receiver):
        python(script, OTEL_METRIC_EXPORT_INTERVAL="600000", **receiver.environment)
    ids = [resource["service.instance.id"] for resource in receiver.resources()]
    assert len(set(ids)) == 2

    def pushed(name):
        return [
            list(points_of(metric).values())
            for request in receiver.metrics
            for resource in request.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
        ]

    assert pushed("llm.requests") == [[1], [10]]
    assert [[point[0] for point in points] for points in pushed("llm.request_duration")] == [
        [1],
        [10],
    ]


def test_where_the_sdk_names_no_instance_we_do_and_anew_after_a_fork(monkeypatch):
    plain = Resource({"service.name": "shop"})
    monkeypatch.setattr(Resource, "create", staticmethod(lambda: plain))
    resource = otlp._resource()
    ours = resource.attributes["service.instance.id"]
    assert resource.attributes == {"service.name": "shop", "service.instance.id": ours}
    pid = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: pid + 1)
    assert resource.attributes["service.instance.id"] != ours


def test_our_telemetry_does_not_load_the_sdk_unless_asked(python):
    assert (
        python(
            """
import sys
import otel_llm_usage.telemetry.metrics, otel_llm_usage.telemetry.spans
from otel_llm_usage.telemetry import otlp
otlp.set_up({"OTEL_SERVICE_NAME": "shop"})
loaded = [name for name in sys.modules if name.startswith(("opentelemetry.sdk", "grpc"))]
assert not loaded, loaded
print("fine")
"""
        )
        == "fine\n"
    )
