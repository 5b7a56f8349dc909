"""Several processes, forked for real, that share one directory of prometheus_client."""

import json
from pathlib import Path

import pytest

PREPARE = """
import json, os, signal, sys
from prometheus_client import CollectorRegistry
from otel_llm_usage.records import Cost, PricedLine, Record, Request, Usage
from otel_llm_usage.server import exposition
from otel_llm_usage.telemetry.metrics import Metrics

request = Request("openai", "openai", "openai-api", "chat", "chat.completions", "gpt-5")
cost = Cost("priced", pico=100_001, priced_lines=(PricedLine("input", 3, 100_001, "test"),))
record = Record(
    "0" * 32, 1_800_000_000.0, request, "ok", Usage(input=3), "reported", cost,
    duration=0.2, time_to_first_chunk=0.1, agent="planner", trace_id="a" * 32,
)

def in_child(function):
    pid = os.fork()
    if pid == 0:
        try:
            function()
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0

def totals(registry=None):
    found = {}
    for metric in exposition(registry).collect():
        for sample in metric.samples:
            labels = {key: value for key, value in sample.labels.items() if key != "pid"}
            if sample.name.endswith("_created"):
                continue
            key = sample.name + json.dumps(labels, sort_keys=True)
            found[key] = found.get(key, 0) + sample.value
    return found

def total(name, registry=None):
    return sum(value for key, value in totals(registry).items() if key.startswith(name + "{"))
"""


def run(python, script: str, directory: Path | None = None) -> dict[str, float]:
    environment = {"PROMETHEUS_MULTIPROC_DIR": str(directory)} if directory else {}
    return json.loads(python(PREPARE + script, **environment))


NAMES = """
print(json.dumps({name: total(name, registry) for name in (
    "llm_tokens_total", "llm_cost_total", "llm_requests_total",
    "llm_request_duration_seconds_count", "llm_request_duration_seconds_sum",
    "llm_time_to_first_token_seconds_count",
    "llm_seam_patched", "llm_build_info", "llm_price_catalogue_age_seconds",
)}))
"""


def test_workers_forked_after_use_add_up(python, tmp_path):
    seen = run(
        python,
        """
registry = CollectorRegistry()
metrics = Metrics(registry=registry, version="1", catalogue_age=lambda: {"packaged": 7.0})
metrics.seam("openai", "chat", "patched")
for _ in range(10):
    metrics(record)

def work():
    for _ in range(100):
        metrics(record)

for _ in range(3):
    in_child(work)
metrics(record)
"""
        + NAMES,
        tmp_path,
    )
    assert seen["llm_requests_total"] == 311
    assert seen["llm_tokens_total"] == 311 * 3
    assert seen["llm_cost_total"] == pytest.approx(311 * 100_001e-12, rel=1e-14)
    assert seen["llm_request_duration_seconds_count"] == 311
    assert seen["llm_request_duration_seconds_sum"] == pytest.approx(311 * 0.2)
    assert seen["llm_time_to_first_token_seconds_count"] == 311
    assert seen["llm_seam_patched"] == 1
    assert seen["llm_build_info"] == 1
    assert seen["llm_price_catalogue_age_seconds"] == 7


def test_a_child_that_makes_no_call_adds_nothing(python, tmp_path):
    seen = run(
        python,
        """
registry = CollectorRegistry()
metrics = Metrics(registry=registry)
metrics(record)
in_child(lambda: None)
in_child(lambda: metrics.touch(request, "planner", {}))
"""
        + NAMES,
        tmp_path,
    )
    assert seen["llm_requests_total"] == 1
    assert seen["llm_tokens_total"] == 3


def test_closing_and_starting_again_in_one_process_counts_on(python, tmp_path):
    seen = run(
        python,
        """
registry = CollectorRegistry()
for _ in range(3):
    metrics = Metrics(registry=registry)
    for _ in range(5):
        metrics(record)
    metrics.close()
"""
        + NAMES,
        tmp_path,
    )
    assert seen["llm_requests_total"] == 15
    assert seen["llm_cost_total"] == pytest.approx(15 * 100_001e-12, rel=1e-14)


def test_without_the_directory_a_child_counts_its_own_calls(python):
    seen = run(
        python,
        """
registry = CollectorRegistry()
metrics = Metrics(registry=registry)
for _ in range(10):
    metrics(record)

def work():
    assert total("llm_requests_total", registry) == 0
    metrics(record)
    assert total("llm_requests_total", registry) == 1
    assert total("llm_build_info", registry) == 1

in_child(work)
"""
        + NAMES,
    )
    assert seen["llm_requests_total"] == 10


def test_a_fork_while_others_count_harms_nobody(python, tmp_path):
    seen = run(
        python,
        """
import threading, time
from otel_llm_usage import backlog
backlog.watch()
registry = CollectorRegistry()
metrics = Metrics(registry=registry)
stop = threading.Event()
counted = [0, 0]

def busy(index):
    while not stop.is_set():
        backlog.counting.later(metrics, record)
        counted[index] += 1
        time.sleep(0)

threads = [threading.Thread(target=busy, args=(index,)) for index in range(2)]
for thread in threads:
    thread.start()

def begin_anew():
    assert total("llm_requests_total", registry) == 0
    backlog.counting.later(metrics, record)
    assert total("llm_requests_total", registry) == 1

for _ in range(20):
    in_child(begin_anew)
stop.set()
for thread in threads:
    thread.join()
registry_total = total("llm_requests_total", registry)
assert registry_total == sum(counted), (registry_total, counted)
"""
        + NAMES,
        None,
    )
    assert seen["llm_requests_total"] > 0
