"""What is counted from each record, and what a scrape shows."""

import gc
import threading
from decimal import Decimal

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text

from otel_llm_usage import guard
from otel_llm_usage.backlog import counting
from otel_llm_usage.errors import ConfigurationError
from otel_llm_usage.records import KINDS, BudgetStatus, Cost, Usage
from otel_llm_usage.telemetry import definitions
from otel_llm_usage.telemetry.metrics import Metrics


def test_a_record_is_counted_by_type_provider_model_and_agent(metrics, record, scrape):
    counted = metrics()
    counted(record())
    seen = scrape(counted)
    who = {"provider": "openai", "model": "gpt-5", "agent": "planner"}
    assert seen("llm_tokens_total", type="input", **who) == 100
    assert seen("llm_tokens_total", type="cache_read", **who) == 20
    assert seen("llm_tokens_total", type="output", **who) == 30
    assert seen("llm_tokens_total", type="reasoning", **who) == 5
    assert seen("llm_tokens_total") == 155
    assert seen("llm_cost_total", type="output", **who) == 0.0003
    assert seen("llm_cost_total") == pytest.approx(0.0004275)
    assert seen("llm_requests_total", operation="chat", status="ok", **who) == 1
    assert seen("llm_request_duration_seconds_count", model="gpt-5", operation="chat") == 1
    assert seen("llm_request_duration_seconds_sum") == 1.5


def test_the_types_are_the_kinds_of_usage_and_their_sum_is_what_was_billed(metrics, record, scrape):
    usage = Usage(*range(1, len(KINDS) + 1))
    counted = metrics()
    counted(record(usage=usage))
    seen = scrape(counted)
    for kind in KINDS:
        assert seen("llm_tokens_total", type=kind) == getattr(usage, kind)
    assert seen("llm_tokens_total") == usage.total_tokens


def test_money_does_not_drift(metrics, record, scrape, cost_of):
    counted = metrics()
    tenth_of_a_microdollar = record(cost=cost_of(input=100_000))
    for _ in range(10_000):
        counted(tenth_of_a_microdollar)
    assert scrape(counted)("llm_cost_total", type="input") == float(Decimal("0.001"))


def test_a_zero_can_be_scraped_before_the_first_answer(metrics, request_of, scrape):
    counted = metrics(labels=("team",))
    counted.touch(request_of(), "planner", {"team": "search"})
    seen = scrape(counted)
    who = {"provider": "openai", "model": "gpt-5", "agent": "planner", "team": "search"}
    for kind in ("input", "cache_read", "output", "reasoning"):
        assert seen("llm_tokens_total", type=kind, **who) == 0
        assert seen("llm_cost_total", type=kind, **who) == 0
    assert seen("llm_requests_total", status="ok", **who) == 0
    assert seen("llm_request_duration_seconds_count") == 0


def test_the_zeros_are_those_that_the_operation_can_have(metrics, request_of, scrape):
    counted = metrics()
    counted.touch(request_of(operation="embeddings"), "planner", {})
    assert scrape(counted).values("llm_tokens_total", "type") == {"input"}
    counted.touch(request_of(provider="anthropic"), "planner", {})
    assert {"cache_write_5m", "cache_write_1h"} <= scrape(counted).values(
        "llm_tokens_total", "type"
    )


def test_the_zero_of_an_alias_stands_at_the_model_that_answers_for_it(
    metrics, record, request_of, scrape
):
    counted = metrics()
    counted(record(response_model="gpt-5-2025-08-07"))
    counted.touch(request_of(), "another agent", {})
    seen = scrape(counted)
    assert seen("llm_requests_total", model="gpt-5-2025-08-07", agent="another agent") == 0
    assert seen("llm_requests_total", model="gpt-5") is None


def test_what_is_partly_priced_is_counted_as_far_as_it_is_known(metrics, record, scrape, cost_of):
    known = cost_of(input=5_000_000)
    partial = Cost("partial", priced_lines=known.priced_lines, reasons=("no_rate:output_audio",))
    counted = metrics()
    counted(record(usage=Usage(input=5, output_audio=7), cost=partial))
    seen = scrape(counted)
    assert seen("llm_cost_total", type="input") == 0.000005
    assert seen("llm_cost_total", type="output_audio") is None
    assert seen("llm_unpriced_requests_total", reason="no_rate", model="gpt-5") == 1
    assert seen("llm_unpriced_tokens_total", type="output_audio", model="gpt-5") == 7
    assert seen("llm_unpriced_tokens_total") == 7


def test_an_unknown_model_costs_nothing_known_and_is_loud(metrics, record, scrape):
    counted = metrics()
    counted(record(cost=Cost("unpriced", reasons=("unknown_model",))))
    seen = scrape(counted)
    assert seen("llm_cost_total") == 0
    assert seen("llm_tokens_total") == 155
    assert seen("llm_unpriced_requests_total", reason="unknown_model") == 1
    assert seen("llm_unpriced_tokens_total") == 155


def test_what_is_prepaid_adds_no_cost(metrics, record, scrape, cost_of):
    counted = metrics()
    counted(record(cost=cost_of(input=5_000_000)._replace(status="prepaid")))
    seen = scrape(counted)
    assert seen("llm_cost_total") == 0
    assert seen("llm_unpriced_requests_total") is None


def test_a_total_without_lines_is_counted_too(metrics, record, scrape):
    counted = metrics()
    counted(record(cost=Cost("priced", pico=1_000_000)))
    assert scrape(counted)("llm_cost_total", type="total") == 0.000001


def test_estimates_are_part_of_the_tokens_and_shown_apart(metrics, record, scrape):
    counted = metrics()
    counted(
        record(
            status="aborted",
            usage_source="estimated",
            usage=Usage(input=9, output=40),
            estimated_kinds=("output",),
        )
    )
    seen = scrape(counted)
    assert seen("llm_tokens_total") == 49
    assert seen("llm_estimated_tokens_total") == 40
    assert seen("llm_estimated_tokens_total", type="output", agent="planner") == 40
    assert seen("llm_requests_total", status="aborted") == 1


@pytest.mark.parametrize(
    ("source", "reasons", "reason"),
    [
        ("missing", ("no_usage",), "no_usage"),
        ("missing", ("stream_aborted",), "stream_aborted"),
        ("bad", ("no_usage",), "bad_usage"),
    ],
)
def test_missing_usage_is_counted_with_its_reason(metrics, record, scrape, source, reasons, reason):
    counted = metrics()
    counted(record(usage=None, usage_source=source, cost=Cost("unpriced", reasons=reasons)))
    assert scrape(counted)("llm_usage_missing_total", reason=reason, model="gpt-5") == 1


def test_what_is_billed_in_units_alone_misses_no_usage(metrics, record, scrape, cost_of):
    counted = metrics()
    counted(
        record(
            usage=None,
            usage_source="missing",
            units={"audio_seconds": 95},
            cost=cost_of(audio_seconds=9_500_000_000),
        )
    )
    seen = scrape(counted)
    assert seen("llm_usage_missing_total") is None
    assert seen("llm_cost_total", type="audio_seconds") == 0.0095


def test_a_refused_request_misses_no_usage_and_no_price(metrics, record, scrape):
    counted = metrics()
    refused = Cost("not_billed", pico=0)
    counted(record(status="error", usage=None, usage_source="missing", cost=refused))
    seen = scrape(counted)
    assert seen("llm_requests_total", status="error") == 1
    assert seen("llm_usage_missing_total") is None
    assert seen("llm_unpriced_requests_total") is None


def test_the_entries_of_one_response_are_one_request(metrics, record, scrape):
    counted = metrics()
    first = record()
    counted(first)
    counted(first._replace(id=first.id + "-1", entry="compaction"))
    seen = scrape(counted)
    assert seen("llm_requests_total") == 1
    assert seen("llm_request_duration_seconds_count") == 1
    assert seen("llm_tokens_total") == 310


def test_time_to_first_token_is_observed_for_streams(metrics, record, scrape):
    counted = metrics()
    counted(record(time_to_first_chunk=0.25))
    counted(record())
    seen = scrape(counted)
    assert seen("llm_time_to_first_token_seconds_count") == 1
    assert seen("llm_time_to_first_token_seconds_bucket", le="0.25") == 1
    assert seen("llm_time_to_first_token_seconds_bucket", le="0.1") == 0


def test_labels_of_the_scope_become_labels_where_configured(metrics, record, scrape):
    counted = metrics(labels=("team",))
    counted(record(labels={"team": "search", "user": "42"}))
    counted(record())
    seen = scrape(counted)
    assert seen("llm_tokens_total", team="search") == 155
    assert seen("llm_tokens_total", team="") == 155
    assert seen("llm_cost_total", team="search") == pytest.approx(0.0004275)
    assert seen("llm_requests_total", team="search") == 1


def test_a_label_that_exists_already_is_refused():
    with pytest.raises(ConfigurationError, match="'agent'"):
        Metrics(registry=CollectorRegistry(), labels=("agent",))


def test_a_label_takes_so_many_values_and_then_other_with_nothing_lost(metrics, record, scrape):
    counted = metrics(labels=("team",), max_label_values=3)
    for number in range(50):
        counted(
            record(
                agent=f"agent {number}",
                response_model=f"model {number}",
                labels={"team": f"team {number}"},
                cost=Cost("unpriced", reasons=(f"reason {number}",)),
            )
        )
    seen = scrape(counted)
    assert seen("llm_tokens_total") == 50 * 155
    assert seen("llm_tokens_total", agent="other", model="other", team="other") == 47 * 155
    assert seen("llm_requests_total") == 50
    assert seen("llm_unpriced_requests_total", reason="other") == 47
    assert seen.values("llm_tokens_total", "agent") == {"agent 0", "agent 1", "agent 2", "other"}
    assert len(seen.samples) < 1000
    assert len(counted._bundles) == 4


def test_touching_unbounded_names_stays_bounded(metrics, request_of, scrape):
    counted = metrics(max_label_values=2)
    for number in range(50):
        counted.touch(request_of(model=f"model {number}"), "planner", {})
    assert scrape(counted).values("llm_requests_total", "model") == {
        "model 0",
        "model 1",
        "other",
    }


def test_names_follow_the_namespace(metrics, record, scrape):
    plain, ours = metrics(namespace=""), metrics(namespace="acme_ai")
    plain(record())
    ours(record())
    assert scrape(plain)("tokens_total") == 155
    assert scrape(plain)("cost_total") == pytest.approx(0.0004275)
    assert scrape(ours)("acme_ai_tokens_total") == 155


def test_threads_lose_nothing(metrics, record, scrape, cost_of):
    counted = metrics()
    one = record(cost=cost_of(input=1), time_to_first_chunk=0.1)

    def work() -> None:
        for _ in range(10_000):
            counting.later(counted, one)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seen = scrape(counted)
    assert seen("llm_tokens_total") == 80_000 * 155
    assert seen("llm_cost_total") == 80_000 / 10**12
    assert seen("llm_requests_total") == 80_000
    assert seen("llm_request_duration_seconds_count") == 80_000


def test_a_stream_that_the_collector_settles_while_we_count_is_counted(metrics, record, scrape):
    counted = metrics()
    one = record()

    class Forgotten:
        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            counting.later(counted, one)

    with counting.alone():
        Forgotten()
        gc.collect()
        assert scrape(counted)("llm_requests_total") is None
    assert scrape(counted)("llm_requests_total") == 1


@pytest.mark.parametrize("name", ["llm_tokens_total", "llm_cost_total"])
def test_tokens_and_cost_carry_the_trace_as_an_exemplar(metrics, record, name):
    counted = metrics()
    counted(record(trace_id="a1" * 16, span_id="b2" * 8))
    text = generate_openmetrics(counted.registry).decode()
    samples = {
        (sample.name, sample.labels["type"]): sample
        for family in parse_openmetrics(text)
        for sample in family.samples
        if sample.name == name
    }
    exemplar = samples[name, "input"].exemplar
    assert exemplar.labels == {"trace_id": "a1" * 16, "span_id": "b2" * 8}
    assert exemplar.value == (100 if name == "llm_tokens_total" else 0.000125)
    assert float(exemplar.timestamp) == 1_800_000_001.5


def test_a_trace_that_is_not_sampled_is_no_exemplar(metrics, record):
    counted = metrics()
    counted(record(trace_id="a1" * 16, trace_sampled=False))
    assert b"trace_id" not in generate_openmetrics(counted.registry)


def test_exemplars_can_be_left_out(metrics, record):
    counted = metrics(exemplars=False)
    counted(record(trace_id="a1" * 16))
    assert b"trace_id" not in generate_openmetrics(counted.registry)


def test_both_formats_can_be_parsed_and_agree(metrics, record):
    counted = metrics(labels=("team",), gen_ai=True, version="1.2.3")
    counted(record(agent='quote " backslash \\ line\n', labels={"team": "ä"}))
    counted.seam("openai", "chat", "patched")
    text = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse_text(generate_latest(counted.registry).decode())
        for sample in family.samples
    }
    openmetrics = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse_openmetrics(generate_openmetrics(counted.registry).decode())
        for sample in family.samples
    }
    assert text == openmetrics
    names = {name for name, _ in text}
    assert "llm_tokens_created" in names
    assert {
        "llm_tokens_total",
        "llm_cost_total",
        "llm_requests_total",
        "llm_request_duration_seconds_bucket",
        "llm_time_to_first_token_seconds_bucket",
        "llm_seam_patched",
        "llm_build_info",
        "gen_ai_client_token_usage_bucket",
        "gen_ai_client_operation_duration_seconds_bucket",
    } <= names


def test_what_is_exposed_is_what_is_defined(metrics, record, scrape):
    counted = metrics(labels=("team",))
    exposed = {metric.name: metric for metric in counted.describe()}
    defined = {one.family("llm"): one for one in definitions.DEFINITIONS}
    assert exposed.keys() == defined.keys()
    for name, one in defined.items():
        assert exposed[name].type == one.kind
        assert exposed[name].documentation == one.documentation
    assert definitions.TOKENS.exposed() == "llm_tokens_total"
    assert definitions.TOKENS.exposed("") == "tokens_total"
    assert definitions.DURATION.exposed() == "llm_request_duration_seconds"
    counted(record())
    labels = {sample.name: set(sample.labels) for sample in scrape(counted).samples}
    assert labels["llm_tokens_total"] == {"type", "provider", "model", "agent", "team"}
    assert labels["llm_requests_total"] == {
        "provider",
        "model",
        "agent",
        "team",
        "operation",
        "status",
    }


def test_half_a_surrogate_pair_in_any_label_leaves_the_scrape_whole(metrics, record, request_of):
    bad = "\ud83d"
    status = BudgetStatus(bad, "daily", Decimal(1), Decimal(0), 0.0, 1.0)
    counted = metrics(
        labels=("team",),
        gen_ai=True,
        budgets=lambda: (status,),
        catalogue_age=lambda: {bad: 1.0},
    )
    asked = request_of(provider=bad, model=bad, operation=bad)
    counted.touch(asked, bad, {"team": bad})
    counted(
        record(
            request=asked,
            agent=bad,
            labels={"team": bad},
            error_type=bad,
            cost=Cost("unpriced", reasons=(bad,)),
        )
    )
    text = generate_latest(counted.registry).decode()
    assert 'agent="?"' in text
    assert generate_openmetrics(counted.registry)


def test_closing_takes_everything_out_of_the_registry(record):
    registry = CollectorRegistry()
    first = Metrics(registry=registry)
    first(record())
    first.close()
    first.close()
    assert list(registry.collect()) == []
    second = Metrics(registry=registry)
    second.close()


def test_two_in_one_registry_say_what_to_do(metrics):
    first = metrics()
    with pytest.raises(ConfigurationError, match="namespace or a registry"):
        Metrics(registry=first.registry)
    metrics(registry=first.registry, namespace="other")


@pytest.mark.faults
def test_failures_of_ours_are_counted_by_place(metrics, scrape):
    counted = metrics()
    guard.failed("providers.read", ValueError("boom"))
    guard.failed("providers.read", ValueError("boom"))
    assert scrape(counted)("llm_instrumentation_errors_total", where="providers.read") == 2


@pytest.mark.faults
def test_a_record_that_cannot_be_counted_takes_no_other_along(metrics, record, scrape):
    counted = metrics()
    for one in (record(), record(usage="no usage at all"), record()):
        counting.later(guard.call, "metrics", counted, one)
    seen = scrape(counted)
    assert seen("llm_tokens_total") == 2 * 155
    assert seen("llm_instrumentation_errors_total", where="metrics") == 1


@pytest.mark.faults
def test_a_failure_that_cannot_be_counted_either_is_no_failure_of_the_listener(
    metrics, monkeypatch, record, scrape
):
    counted = metrics()

    def vanished(*values):
        raise OSError("the directory is gone")

    with monkeypatch.context() as broken:
        broken.setattr(counted.errors, "at", vanished)
        guard.count("providers.read")
        guard.call("metrics", counted, record(usage="no usage at all"))
        counting.finish()
    counted(record())
    assert guard.errors == {"providers.read": 1, "metrics": 1}
    assert scrape(counted)("llm_tokens_total") == 155


def test_a_call_does_not_wait_for_a_scrape_to_show_its_zero(metrics, request_of, scrape):
    counted = metrics()
    with counting.alone():
        beginning = threading.Thread(target=counted.touch, args=(request_of(), "planner", {}))
        beginning.start()
        beginning.join(10)
        assert not beginning.is_alive()
    assert scrape(counted)("llm_requests_total", agent="planner") == 0


def test_the_age_of_each_price_layer_is_asked_for_at_each_scrape(metrics, scrape):
    ages = {"packaged": 10.0}
    counted = metrics(catalogue_age=lambda: ages)
    assert scrape(counted)("llm_price_catalogue_age_seconds", layer="packaged") == 10
    ages["packaged"] = 20.0
    assert scrape(counted)("llm_price_catalogue_age_seconds", layer="packaged") == 20


def test_a_seam_is_one_when_patched_and_zero_when_missing(metrics, scrape):
    counted = metrics(version="1.2.3")
    counted.seam("openai", "chat", "patched")
    counted.seam("openai", "batch", "missing")
    counted.seam("google", "live", "waiting")
    seen = scrape(counted)
    assert seen("llm_seam_patched", sdk="openai", seam="chat") == 1
    assert seen("llm_seam_patched", sdk="openai", seam="batch") == 0
    assert seen("llm_seam_patched", sdk="google") is None
    assert seen("llm_build_info", version="1.2.3") == 1


def test_the_metrics_of_the_conventions_are_an_option(metrics, record, scrape):
    plain, asked = metrics(), metrics(gen_ai=True)
    for each in (plain, asked):
        each(record(response_model="gpt-5-2025-08-07"))
        each(record(error_type="429", usage=None, cost=Cost("not_billed", pico=0)))
    assert scrape(plain)("gen_ai_client_token_usage_count") is None
    seen = scrape(asked)
    both = {"gen_ai_provider_name": "openai", "gen_ai_operation_name": "chat"}
    assert seen("gen_ai_client_token_usage_sum", gen_ai_token_type="input", **both) == 120
    assert seen("gen_ai_client_token_usage_sum", gen_ai_token_type="output", **both) == 35
    assert seen("gen_ai_client_operation_duration_seconds_count", error_type="429") == 1
    assert seen("gen_ai_client_token_usage_bucket", le="64.0", gen_ai_token_type="output") == 1


def test_the_first_chunk_of_the_conventions_is_observed_once_for_each_stream(
    metrics, record, scrape
):
    counted = metrics(gen_ai=True)
    stream = record(time_to_first_chunk=0.25)
    counted(stream)
    counted(stream._replace(id=stream.id + "-1"))
    counted(record())
    seen = scrape(counted)
    name = "gen_ai_client_operation_time_to_first_chunk_seconds"
    assert seen(f"{name}_count", gen_ai_request_model="gpt-5") == 1
    assert seen(f"{name}_bucket", le="0.32") == 1
    assert seen(f"{name}_bucket", le="0.16") == 0
