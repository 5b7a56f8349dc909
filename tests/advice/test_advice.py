"""Planted traffic, of which it is known by hand what there is to say, and traffic of which there is nothing."""

import io
import itertools
import json
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from click.testing import CliRunner

from otel_llm_usage import tables
from otel_llm_usage.advice import AdviceList, advise
from otel_llm_usage.advice.family import cheaper
from otel_llm_usage.cli import main
from otel_llm_usage.ledger import Ledger, Question, Reports
from otel_llm_usage.prices import load_catalogue
from otel_llm_usage.records import Cost, Record, Request, Usage
from otel_llm_usage.standin.tariff import charge

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
BEGIN = NOW - timedelta(days=30)
OPENAI = ("openai", "openai", "openai-api", "chat.completions")
ANTHROPIC = ("anthropic", "anthropic", "claude-api", "messages")
MILLION = Decimal(10) ** 6


@pytest.fixture(scope="module")
def catalogue():
    made = load_catalogue()
    made.warm()
    return made


@pytest.fixture
def ledger(tmp_path):
    made = Ledger(tmp_path / "usage.db")
    yield made
    made.close()


@pytest.fixture
def call(ledger, catalogue):
    """Put a call into the ledger, priced by the catalogue; as the last thing so far."""

    numbers = itertools.count(1)

    def put(at, model="gpt-4.1-nano", *, seller=OPENAI, cost=None, status="ok", **more):
        provider, vendor, platform, endpoint = seller
        told = {name: more.pop(name) for name in list(more) if name in Usage._fields}
        request = Request(
            provider, vendor, platform, "chat", endpoint, model, more.pop("stream", False)
        )
        record = Record(
            id=f"{next(numbers):032x}",
            time=at.timestamp(),
            request=request,
            status=status,
            usage=Usage(**({"input": 0, "output": 0} | told)) if told else None,
            usage_source=more.pop("usage_source", "reported"),
            cost=Cost("unpriced", None, (), ("no_usage",)),
            agent=more.pop("agent", "worker"),
            labels=more,
        )
        if told:
            priced = catalogue.price(record.request, record.reading, record.time)
            record = record._replace(cost=cost or priced)
        ledger(record)
        return record.id

    # the time begins there: what is said of a month is what was found
    put(BEGIN, agent="first", input=10, output=10)
    return put


@pytest.fixture
def found(ledger, catalogue, call):
    """What is found, by kind."""

    def look(least=Decimal("0.000001"), kind=None, **more):
        told = advise(
            Reports(ledger), catalogue, Question(), least_usd=least, now=NOW, **more
        ).findings
        return [one for one in told if kind is None or one.kind == kind]

    return look


def minutes(number):
    return timedelta(minutes=number)


# ------------------------------------------------------------ the findings, by hand


def test_the_same_large_input_again_and_again(call, found):
    ids = [
        call(NOW - minutes(200 - number), input=3000 + number, output=5, agent="bot")
        for number in range(100)
    ]
    (one,) = found(kind="uncached_prefix")
    # of 100 calls the tenth smallest input has 3009 tokens; 99 come a minute after another one
    # gpt-4.1-nano: $0.10 plain, $0.025 from a cache, for a million
    assert one.usd == 99 * 3009 * Decimal("0.075") / MILLION
    assert one.usd_per_month == one.usd.quantize(Decimal("0.000001"))
    assert one.about == {"agent": "bot", "model": "gpt-4.1-nano"}
    assert one.evidence["soon_after_another"] == 99
    assert one.evidence["input_tokens_of_nine_in_ten"] == 3009
    assert set(one.examples) == set(ids[-3:])
    assert "first" in one.todo


def test_with_claude_writing_the_cache_has_its_price(call, found):
    for number in range(60):
        # 20 times three calls, one right after the other, and then nothing for an hour
        at = NOW - timedelta(hours=60 - number // 3) + minutes(number % 3)
        call(at, "claude-haiku-4-5", seller=ANTHROPIC, input=5000, output=5, agent="bot")
    (one,) = found(kind="uncached_prefix")
    # claude-haiku-4-5: $1 plain, $0.10 from a cache, $1.25 written, for a million
    saved = 40 * 5000 * Decimal("0.9") - 20 * 5000 * Decimal("0.25")
    assert one.usd == saved / MILLION
    assert "cache_control" in one.todo


@pytest.mark.parametrize(
    "make",
    [
        lambda call, at, n: call(at, input=300, output=5),  # too small to be cached
        lambda call, at, n: call(at, input=2000 + 90 * n, output=5),  # of every size
        lambda call, at, n: call(at, input=500, cache_read=2500, output=5),
        lambda call, at, n: call(at - timedelta(hours=n), input=3000, output=5),  # long after
    ],
    ids=["small", "uneven", "cached", "rare"],
)
def test_inputs_that_could_not_be_cached(call, found, make):
    for number in range(100):
        make(call, NOW - minutes(200 - number), number)
    assert found(kind="uncached_prefix") == []


def test_calls_that_are_cached_less_than_others_of_the_agent(call, found):
    for number in range(50):
        at = NOW - minutes(200 - number)
        call(at, input=400, cache_read=1600, output=5, agent="bot", call_type="answer")
        call(at, input=1900, cache_read=100, output=5, agent="bot", call_type="summary")
    (one,) = found(kind="cache_below_others")
    # 80 % of 100,000 input tokens instead of 5 %
    assert one.usd == 75_000 * Decimal("0.075") / MILLION
    assert one.about["call_type"] == "summary"
    assert one.evidence["others"]["call_type"] == "answer"


def test_caches_that_are_written_and_not_read(call, found):
    for number in range(10):
        at = NOW - timedelta(hours=number)
        written = {"cache_write_5m": 4000, "cache_read": 100 if number == 0 else 0}
        call(at, "claude-haiku-4-5", seller=ANTHROPIC, input=10, output=5, **written)
    (one,) = found(kind="cache_costs_more")
    assert one.usd == (40_000 * Decimal("0.25") - 100 * Decimal("0.9")) / MILLION
    assert one.evidence["cache_write_tokens"] == 40_000


def test_a_smaller_model_of_the_family(call, found):
    usage = {"input": 700, "output": 90}
    for number in range(25):
        call(NOW - timedelta(hours=number), "gpt-4.1-2025-04-14", **usage)
    (one,) = found(kind="cheaper_model")
    large, mini, nano = (
        25 * charge(model, usage) for model in ("gpt-4.1", "gpt-4.1-mini", "gpt-4.1-nano")
    )
    assert one.usd == large - mini
    assert {model: Decimal(usd) for model, usd in one.evidence["saved_usd"].items()} == {
        "gpt-4.1-mini": large - mini,
        "gpt-4.1-nano": large - nano,
    }
    assert "nothing of quality" in one.uncertainty
    assert "80% less on gpt-4.1-mini" in one.what


@pytest.mark.parametrize(
    ("seller", "model", "smaller"),
    [
        (OPENAI, "gpt-5-2025-08-07", ["gpt-5-mini", "gpt-5-nano"]),
        (OPENAI, "gpt-4.1-nano", []),
        (ANTHROPIC, "claude-opus-4-5-20251101", ["claude-sonnet-4-5", "claude-haiku-4-5"]),
        (OPENAI, "nobody-1", []),
        (
            ("gcp.gemini", "google", "gemini-api", "generate_content"),
            "gemini-2.5-pro",
            ["gemini-2.5-flash", "gemini-2.5-flash-lite"],
        ),
    ],
    ids=lambda one: one if isinstance(one, str) else None,
)
def test_families_of_models(catalogue, seller, model, smaller):
    provider, vendor, platform, endpoint = seller
    record = Record(
        id="0" * 32,
        time=NOW.timestamp(),
        request=Request(provider, vendor, platform, "chat", endpoint, model),
        status="ok",
        usage=None,
        usage_source="missing",
        cost=Cost("unpriced"),
    )
    assert cheaper(catalogue, record) == smaller


def test_calls_that_cost_far_more_than_the_others(call, found):
    for number in range(60):
        call(NOW - timedelta(hours=number + 1), input=1000 + 10 * (number % 5), output=10)
    dear = [call(NOW - minutes(number), input=90_000, output=1000) for number in range(2)]
    (one,) = found(kind="outliers")
    # the middle one of 62 has 1020 input tokens
    middle = charge("gpt-4.1-nano", {"input": 1020, "output": 10})
    assert one.usd == 2 * (charge("gpt-4.1-nano", {"input": 90_000, "output": 1000}) - middle)
    assert set(one.examples) == set(dear)
    assert one.evidence["outliers"] == 2


def test_what_is_paid_for_calls_that_did_not_end(call, found):
    usage = {"input": 5000, "output": 100}
    for number in range(30):
        call(NOW - timedelta(hours=number), **usage)
    left = call(NOW, status="aborted", **usage, usage_source="partial")
    broken = call(NOW, status="broken", **usage, usage_source="partial")
    call(NOW, status="error", input=1, output=0, cost=Cost("not_billed", 0))
    (one,) = found(kind="paid_for_nothing")
    assert one.usd == 2 * charge("gpt-4.1-nano", usage)
    assert {status: part["calls"] for status, part in one.evidence.items()} == {
        "aborted": 1,
        "broken": 1,
    }
    assert set(one.examples) == {left, broken}
    assert one.what.startswith("2 calls of 33 ")


def test_reasoning_that_costs_more_than_all_else(call, found):
    for number in range(20):
        call(NOW - timedelta(hours=number), "gpt-5-nano", input=100, output=50, reasoning=900)
    (one,) = found(kind="reasoning")
    assert one.usd == 20 * 900 * Decimal("0.4") / MILLION  # gpt-5-nano: $0.40 for a million
    assert one.evidence["reasoning_tokens"] == 18_000


def test_a_nightly_job_could_be_a_batch(call, found):
    usage = {"input": 700, "output": 90}
    for day, number in itertools.product(range(5), range(20)):
        night = NOW.replace(hour=2) - timedelta(days=day)
        call(night + minutes(number), agent="nightly", **usage)
    for day, number in itertools.product(range(5), range(20)):
        night = NOW.replace(hour=2) - timedelta(days=day)
        call(night + minutes(number), agent="for people", user="ann", **usage)
        call(night + timedelta(hours=number), agent="all day", **usage)
        call(night + minutes(number), agent="streamed", stream=True, **usage)
    (one,) = found(kind="batch")
    assert one.usd == 100 * charge("gpt-4.1-nano", usage) / 2
    assert one.about["agent"] == "nightly"
    assert "guess" in one.uncertainty


def test_money_that_nobody_sees(call, found):
    for _ in range(3):
        call(NOW - timedelta(hours=1), "nobody-1", input=100, output=5)
    quiet = call(NOW - timedelta(hours=1), "gpt-4.1-nano", agent="quiet")
    told = {one.about["model"]: one for one in found(least=Decimal(10_000), kind="unpriced")}
    assert told["nobody-1"].usd is None
    assert told["nobody-1"].evidence["records"] == 3
    assert told["nobody-1"].evidence["tokens"] == 315
    assert told["nobody-1"].evidence["reasons"] == ["unknown_model"]
    assert "price file" in told["nobody-1"].todo
    assert told["gpt-4.1-nano"].examples == (quiet,)
    assert "provider tells the usage" in told["gpt-4.1-nano"].todo


def test_dollars_that_rest_on_estimates(call, found):
    usage = {"input": 5000, "output": 1000}
    for number in range(9):
        call(NOW - timedelta(hours=number), **usage)
    call(NOW, usage_source="estimated", **usage)
    (one,) = found(kind="estimated")
    assert one.usd == charge("gpt-4.1-nano", usage)
    assert one.evidence["records"] == 1


# ------------------------------------------------------------ all of them


def test_of_clean_traffic_nothing_is_said(call, found):
    for number in range(300):
        at = NOW - timedelta(hours=number / 3)
        call(at, input=600 + number % 7, cache_read=1800, output=200, agent="bot", user="ann")
        call(at, "gpt-5-nano", input=500, output=300, reasoning=60, agent="other", stream=True)
    assert found() == []


def test_the_dearest_first_and_nothing_under_the_threshold(call, found):
    for number in range(40):
        call(NOW - timedelta(hours=number), "gpt-4.1", input=90_000, output=10, agent="dear")
        call(NOW - timedelta(hours=number), "gpt-4.1", input=700, output=10, agent="cheap")
    months = [one.usd_per_month for one in found()]
    assert months == sorted(months, reverse=True)
    assert {one.about["agent"] for one in found(least=Decimal(1))} == {"dear"}


def test_a_short_time_is_told_as_a_month(ledger, catalogue):
    record = Record(
        id="0" * 32,
        time=(NOW - timedelta(days=10)).timestamp(),
        request=Request("openai", "openai", "openai-api", "chat", "chat.completions", "gpt-4.1"),
        status="broken",
        usage=Usage(input=1_000_000, output=0),
        usage_source="partial",
        cost=Cost("priced", 2 * 10**12),
    )
    ledger(record)
    told = advise(Reports(ledger), catalogue, Question(), now=NOW)
    (one,) = told.findings
    assert (told.days, one.usd, one.usd_per_month) == (10.0, 2, 6)


def test_an_empty_ledger_has_nothing_to_say(ledger, catalogue):
    told = advise(Reports(ledger), catalogue, Question(), now=NOW)
    assert (told.since, told.findings, told.total.calls) == (None, (), 0)
    assert json.loads(json.dumps(told.to_dict()))["findings"] == []


def test_the_page_shows_what_is_printed(call, ledger, catalogue):
    for number in range(3000):
        at = NOW - minutes(14 * (number - number % 5) + number % 5)
        call(at, "gpt-4.1", input=6000 + number % 90, output=120, agent="triage")
    for day, number in itertools.product(range(20), range(30)):
        night = NOW.replace(hour=2) - timedelta(days=day) + minutes(number)
        call(night, "gpt-5-mini", input=9000, output=900, reasoning=400, agent="digest")
    call(NOW - minutes(7), "acme-1", input=100, output=5, agent="triage")
    call(NOW - minutes(1), "gpt-4.1", input=700_000, output=20, agent="triage")
    file = io.StringIO()
    told = advise(Reports(ledger), catalogue, Question(), now=NOW)
    tables.show(AdviceList(told), file)
    said = [line.rstrip() for line in file.getvalue().splitlines()]
    page = (Path(__file__).parents[2] / "docs" / "advice.md").read_text()
    (shown,) = re.findall(r"```text\n(.*?)```", page, re.DOTALL)
    assert shown.splitlines() == said
    kinds = set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
    assert {one.kind for one in told.findings} < kinds


def test_in_the_terminal(call, ledger, tmp_path):
    now = datetime.now(UTC)
    for number in range(25):
        call(now - timedelta(hours=number + 1), "gpt-4.1", input=90_000, output=10)
    ledger.flush()

    def run(*more, code=0):
        place = str(tmp_path / "usage.db")
        done = CliRunner().invoke(main, ["advise", "--ledger", place, "--since", "3d", *more])
        assert done.exit_code == code, done.output
        return done.stdout if code == 0 else done.output

    assert "1. cheaper model: up to $" in run()
    (one,) = json.loads(run("--json"))["findings"]
    saved = 25 * (
        charge("gpt-4.1", {"input": 90_000, "output": 10})
        - charge("gpt-4.1-mini", {"input": 90_000, "output": 10})
    )
    assert Decimal(one["usd"]) == saved
    assert "Nothing that would save $5,000.00 or more" in run("--least", "5000")
    assert "no amount" in run("--least", "much", code=2)
