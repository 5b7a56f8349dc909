"""Providers of others: without a hash, failing, and closed and used again."""

import gc
import json

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import Counter, MeterProvider, ObservableCounter
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from prometheus_client import CollectorRegistry

from otel_llm_usage import guard
from otel_llm_usage.errors import ConfigurationError
from otel_llm_usage.telemetry import otlp
from otel_llm_usage.telemetry.metrics import Metrics
from otel_llm_usage.telemetry.others import Beside
from otel_llm_usage.telemetry.spans import Spans


class Comparable(MeterProvider):
    """A provider that compares by value, as a dataclass does: it has no hash."""

    def __eq__(self, other):
        return isinstance(other, Comparable)


def total(reader, name):
    data = reader.get_metrics_data()
    return sum(
        point.value
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == name
        for point in metric.data.data_points
    )


def test_a_provider_without_a_hash_is_shown_the_numbers(metrics, record):
    reader = InMemoryMetricReader()
    provider = Comparable([reader])
    metrics(meter_provider=provider)(record())
    metrics(meter_provider=provider)(record())
    assert total(reader, "llm.tokens") == 155
    provider.shutdown()


class Something:
    def __eq__(self, other):
        return True


def test_what_is_remembered_beside_an_object_is_forgotten_with_it():
    beside = Beside()
    one, other = Something(), Something()
    beside.keep(one, 1)
    beside.keep(one, 2)
    assert beside.get(one) == 2
    assert beside.get(other) is None
    assert list(beside) == [2]
    del one
    gc.collect()
    assert list(beside) == []


def test_nothing_is_remembered_beside_what_would_not_tell_of_its_end():
    beside = Beside()
    unseen = 12.5
    beside.keep(unseen, 1)
    assert beside.get(unseen) is None


class Failing:
    """Works until it is asked for `what`."""

    def __init__(self, what):
        self.what = what

    def __getattr__(self, name):
        if name == self.what:
            raise RuntimeError("boom")
        return lambda *args, **kwargs: self


ASKED = ["get_meter", "create_observable_counter", "create_histogram", "create_observable_gauge"]


@pytest.mark.faults
@pytest.mark.parametrize("what", ASKED)
def test_a_meter_provider_of_the_environment_that_fails_is_said_and_counted(
    metrics, record, scrape, caplog, what
):
    counted = metrics(meter_provider=Failing(what))
    counted(record(time_to_first_chunk=0.1))
    seen = scrape(counted)
    assert seen("llm_tokens_total") == 155
    assert seen("llm_instrumentation_errors_total", where="meter_provider") == 1
    assert len(caplog.records) == 1


@pytest.mark.parametrize("what", ASKED)
def test_a_meter_provider_of_the_user_has_to_work(what):
    registry = CollectorRegistry()
    with pytest.raises(ConfigurationError, match=r"meter_provider: .*boom"):
        Metrics(registry=registry, meter_provider=Failing(what), provider_given=True)
    Metrics(registry=registry).close()


@pytest.mark.faults
def test_a_tracer_provider_of_the_environment_that_fails_is_said_and_counted(record, caplog):
    spans = Spans(Failing("get_tracer"))
    assert guard.errors == {"tracer_provider": 1}
    assert len(caplog.records) == 1
    assert spans.start(record().request, "planner") is None


def test_a_tracer_provider_of_the_user_has_to_work():
    with pytest.raises(ConfigurationError, match=r"tracer_provider: .*boom"):
        Spans(Failing("get_tracer"), provider_given=True)


def test_where_no_span_is_ever_opened_no_provider_is_asked():
    Spans(Failing("get_tracer"), "never", provider_given=True)


def test_it_is_known_which_providers_the_user_gave():
    provider = trace.NoOpTracerProvider()
    assert otlp.set_up({}, tracer_provider=provider).given == {"traces"}
    assert otlp.set_up({}).given == set()


@pytest.mark.parametrize(
    ("temporality", "first", "both"),
    [(AggregationTemporality.CUMULATIVE, 310, 465), (AggregationTemporality.DELTA, 310, 155)],
)
def test_what_a_closed_runtime_has_counted_stays_part_of_the_total(
    record, temporality, first, both
):
    reader = InMemoryMetricReader({ObservableCounter: temporality, Counter: temporality})
    provider = MeterProvider([reader])

    def run(calls):
        counted = Metrics(registry=CollectorRegistry(), meter_provider=provider)
        for _ in range(calls):
            counted(record())
        return counted

    run(2).close()
    assert total(reader, "llm.tokens") == first
    last = run(1)
    assert total(reader, "llm.tokens") == both
    last.close()
    provider.shutdown()


TWICE = """
import json, os
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry
from otel_llm_usage.records import Cost, Record, Request, Usage
from otel_llm_usage.telemetry.metrics import Metrics
request = Request("openai", "openai", "openai-api", "chat", "chat.completions", "gpt-5")
record = Record("0" * 32, 1.8e9, request, "ok", Usage(input=3), "reported", Cost("free", 0))
reader = InMemoryMetricReader()
provider = MeterProvider([reader])

def run(calls):
    counted = Metrics(registry=CollectorRegistry(), meter_provider=provider)
    for _ in range(calls):
        counted(record)
    return counted

def total():
    return sum(
        point.value
        for resource in reader.get_metrics_data().resource_metrics
        for metric in resource.scope_metrics[0].metrics
        if metric.name == "llm.tokens"
        for point in metric.data.data_points
    )

run(2).close()
last = run(1)
"""


def test_a_total_that_is_kept_in_a_file_as_well_is_not_counted_twice(python, tmp_path):
    seen = python(TWICE + "print(total())", PROMETHEUS_MULTIPROC_DIR=str(tmp_path))
    assert json.loads(seen) == 9


def test_a_forked_process_does_not_repeat_what_closed_runtimes_have_counted(python):
    script = """
pid = os.fork()
if pid == 0:
    last(record)
    os._exit(int(total()))
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    assert json.loads(python(TWICE + script)) == 3


def test_a_directory_that_vanishes_costs_the_host_nothing(python, tmp_path):
    script = """
import shutil
from otel_llm_usage import guard
counted = Metrics(registry=CollectorRegistry())
shutil.rmtree(os.environ["PROMETHEUS_MULTIPROC_DIR"])
pid = os.fork()
if pid == 0:
    counted.touch(request, "planner", {})
    guard.call("metrics", counted, record)
    os._exit(guard.errors["metrics"])
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    directory = tmp_path / "multiproc"
    directory.mkdir()
    seen = python(TWICE + script, PROMETHEUS_MULTIPROC_DIR=str(directory))
    assert json.loads(seen) == 2
